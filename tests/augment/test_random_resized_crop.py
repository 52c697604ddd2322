import math

import pytest
import torch
from torch import Tensor
from torchvision.transforms import RandomResizedCrop as Official
from torchvision.transforms.v2 import functional as F

from kd_lab.augment.chain import Chain
from kd_lab.augment.cutout import Cutout
from kd_lab.augment.random_resized_crop import ATTEMPTS, RandomResizedCrop
from kd_lab.seeds import integers, mixed, of_samples


def _images(*shape: int) -> Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def _seeds(count: int, seed: int = 0) -> Tensor:
    return of_samples(seed, torch.arange(count))


@pytest.mark.parametrize("flip", [True, False])
def test_random_resized_crop__is_torchvisions_on_the_boxes_it_draws(flip: bool) -> None:
    pictures, seeds = [_images(3, 20 + 3 * n, 60 - 2 * n) for n in range(20)], _seeds(20, 3)
    crop = RandomResizedCrop(flip=flip)
    boxes = crop.boxes(torch.tensor([picture.shape[1:] for picture in pictures]), seeds).tolist()
    mirrored = (integers(seeds, 4 * ATTEMPTS, 2) == 1).tolist()
    assert {*mirrored} == {True, False}
    made = crop.cut(pictures, seeds, (16, 12))
    assert (made.shape, made.dtype) == ((20, 3, 16, 12), torch.uint8)
    for picture, box, mirror, one in zip(pictures, boxes, mirrored, made, strict=True):
        expected = F.resized_crop(picture, *box, size=[16, 12], antialias=True)
        assert torch.equal(one, F.horizontal_flip(expected) if flip and mirror else expected)


def test_random_resized_crop__boxes_lie_within_and_are_drawn_as_torchvision_draws() -> None:
    height, width, count = 300, 400, 20_000
    sizes = torch.tensor([[height, width]]).expand(count, 2)
    own = RandomResizedCrop().boxes(sizes, _seeds(count)).double()
    torch.manual_seed(0)
    picture = torch.empty(1, height, width)
    theirs = torch.tensor(
        [Official.get_params(picture, [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(count)], dtype=torch.double
    )
    top, left, h, w = own.unbind(1)
    assert bool((top >= 0).all() and (left >= 0).all() and (top + h <= height).all() and (left + w <= width).all())
    for of_box in (
        lambda b: b[:, 2] * b[:, 3] / (height * width),
        lambda b: (b[:, 3] / b[:, 2]).log(),
        lambda b: b[:, 0] / (height - b[:, 2]).clamp(min=1),
        lambda b: b[:, 1] / (width - b[:, 3]).clamp(min=1),
    ):
        at = torch.linspace(0.02, 0.98, 25, dtype=torch.double)
        difference = (of_box(own).quantile(at) - of_box(theirs).quantile(at)).abs().max()
        assert float(difference) < 0.02


@pytest.mark.parametrize(("height", "width"), [(10, 1000), (1000, 10), (30, 31), (1, 1), (7, 1)])
def test_random_resized_crop__where_no_box_fits_it_is_the_middle_as_torchvisions(height: int, width: int) -> None:
    crop = RandomResizedCrop(scale=(1.0, 1.0), ratio=(0.75, 1.25))
    never = RandomResizedCrop(scale=(1.0, 1.0), ratio=(0.75, 1.25))
    sizes = torch.tensor([[height, width]])
    middle = never._middle(sizes[:, 0], sizes[:, 1])[0].tolist()
    area, ratio = height * width, width / height
    if not 0.75 <= ratio <= 1.25:
        official = Official.get_params(torch.empty(1, height, width), [1.0, 1.0], [0.75, 1.25])
        assert crop.boxes(sizes, _seeds(1))[0].tolist() == list(official) == middle
    else:
        assert middle == [0, 0, height, width]
    assert middle[2] * middle[3] <= area


def test_random_resized_crop__of_a_batch_is_that_of_its_pictures() -> None:
    images = _images(5, 3, 24, 18)
    assert torch.equal(RandomResizedCrop()(images, _seeds(5)), RandomResizedCrop().cut([*images], _seeds(5), (24, 18)))


def test_random_resized_crop__leads_a_chain_and_cuts_from_whole_pictures() -> None:
    pictures, seeds = [_images(3, 30 + n, 40) for n in range(6)], _seeds(6)
    crop, cutout = RandomResizedCrop(), Cutout(4)
    chain = Chain({"crop": crop, "cutout": cutout})
    assert chain.cuts
    assert not Chain({"cutout": cutout, "crop": crop}).cuts
    cropped = crop.cut(pictures, of_samples(mixed(0), seeds), (16, 16))
    expected = cutout(cropped, of_samples(mixed(1), seeds))
    assert torch.equal(chain.cut(pictures, seeds, (16, 16)), expected)
    assert torch.equal(
        chain(cropped, seeds), cutout(crop(cropped, of_samples(mixed(0), seeds)), of_samples(mixed(1), seeds))
    )


@pytest.mark.parametrize("scale", [(0.0, 1.0), (0.5, 0.2), (0.5, 1.5)])
def test_random_resized_crop__a_scale_that_no_box_has(scale: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match=r"Expected `scale` to be two shares of the area, .*, but got \["):
        RandomResizedCrop(scale=scale)


def test_random_resized_crop__a_ratio_out_of_order() -> None:
    with pytest.raises(ValueError, match=r"Expected `ratio` to be two ratios .*, but got \[2, 1\]\."):
        RandomResizedCrop(ratio=(2, 1))


def test_random_resized_crop__inputs_that_are_no_images() -> None:
    with pytest.raises(ValueError, match=r"Expected images \[B, C, H, W\] to crop, but got inputs of shape \[4, 20\]"):
        RandomResizedCrop()(torch.zeros(4, 20), _seeds(4))


def test_random_resized_crop__the_same_ratio_is_kept() -> None:
    boxes = RandomResizedCrop(scale=(0.25, 0.25), ratio=(1.0, 1.0)).boxes(torch.tensor([[100, 100]] * 9), _seeds(9))
    assert boxes[:, 2:].tolist() == [[50, 50]] * 9
    assert math.isclose(float(boxes[:, 0].double().mean()), 25, abs_tol=20)
