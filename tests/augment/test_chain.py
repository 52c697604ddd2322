import pytest
import torch
from torch import Tensor

from kd_lab.augment.chain import Chain
from kd_lab.augment.crop_flip import CropFlip
from kd_lab.augment.cutout import Cutout
from kd_lab.errors import UserError
from kd_lab.job.build import build
from kd_lab.seeds import integers, of_samples
from tests.job.composed import config


def test_chain__parts_in_their_order() -> None:
    def add(inputs: Tensor, seeds: Tensor) -> Tensor:
        return inputs + 1

    def double(inputs: Tensor, seeds: Tensor) -> Tensor:
        return inputs * 2

    assert Chain({"b": add, "none": None, "a": double})(torch.ones(2, 3), torch.arange(2)).tolist() == [[4.0] * 3] * 2


def test_chain__each_part_draws_for_itself() -> None:
    drawn = []

    def draw(inputs: Tensor, seeds: Tensor) -> Tensor:
        drawn.append(integers(seeds, 0, 2).bool())
        return inputs

    seeds = of_samples(0, torch.arange(2000))
    Chain({"one": draw, "two": draw})(torch.zeros(2000, 1), seeds)
    both = torch.stack([*drawn, integers(seeds, 0, 2).bool()]).double()
    assert float((torch.corrcoef(both) - torch.eye(3)).abs().max()) < 0.1


def test_chain__without_parts() -> None:
    with pytest.raises(ValueError, match=r"Expected `parts` to name an augmentation, but got \{\}"):
        Chain({"none": None})


def test_chain__of_the_command_line() -> None:
    changed = ["dataset.augment.parts.cutout.size=4", "dataset.augment.parts.crop_flip.padding=1"]
    made = build("augment", config("dataset/augment=chain", *changed)["dataset"]["augment"])
    crop, cut = made.parts.values()
    assert isinstance(crop, CropFlip)
    assert isinstance(cut, Cutout)
    assert (crop.padding, cut.size) == (1, 4)


def test_chain__another_part_and_one_taken_away() -> None:
    more = ["+dataset/augment@dataset.augment.parts.shift=shift", "~dataset.augment.parts.crop_flip"]
    made = build("augment", config("dataset/augment=chain", *more)["dataset"]["augment"])
    assert list(made.parts) == ["cutout", "shift"]


def test_chain__a_part_that_is_wrong() -> None:
    node = config("dataset/augment=chain", "dataset.augment.parts.cutout.size=0")["dataset"]["augment"]
    with pytest.raises(UserError, match=r"^dataset\.augment\.parts\.cutout\.size=0: expected >= 1"):
        build("dataset.augment", node)
