import numpy as np
import pytest
import torch

from kd_lab.augment.shift import Shift
from kd_lab.datasets.synthetic import Synthetic
from kd_lab.errors import UserError
from kd_lab.types import UNLABELLED


def test_synthetic__sizes_of_the_reference() -> None:
    data = Synthetic().load()
    assert data.source.inputs.shape == (4400, 20)
    assert (len(data.train), len(data.transfer), len(data.test), len(data.validation)) == (400, 2400, 2000, 0)
    assert torch.bincount(data.targets[data.train]).tolist() == [40] * 10
    assert torch.bincount(data.targets[data.test]).tolist() == [200] * 10
    assert int((data.targets == UNLABELLED).sum()) == 2000


def test_synthetic__about_standard_normal() -> None:
    inputs = Synthetic().load().source.inputs
    assert inputs.dtype == torch.float32
    assert abs(float(inputs.mean())) < 0.1
    assert abs(float(inputs.std()) - 1) < 0.1


def test_synthetic__same_points_for_every_seed_other_parts() -> None:
    one, other = Synthetic(seed=0).load(), Synthetic(seed=1).load()
    assert torch.equal(one.source.inputs, other.source.inputs)
    assert not torch.equal(one.test, other.test)
    assert one.fingerprint != other.fingerprint
    assert one.fingerprint == Synthetic(seed=0).load().fingerprint


def test_synthetic__leaves_the_global_generator_alone() -> None:
    torch.manual_seed(5)
    np.random.seed(5)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    Synthetic().load()
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])


def test_synthetic__classes_are_learnable_but_not_by_one_centre_each() -> None:
    data = Synthetic(labels=None).load()
    targets = data.targets
    centres = torch.stack([data.source.inputs[data.train][targets[data.train] == k].mean(0) for k in range(10)])
    nearest = torch.cdist(data.source.inputs[data.test], centres).argmin(1)
    accuracy = float((nearest == targets[data.test]).float().mean())
    # Chance is 0.1; three modes per class keep a linear rule far below the networks of the reference (0.77 to 0.83).
    assert 0.35 < accuracy < 0.75


def test_synthetic__augmentation_of_images_does_not_fit() -> None:
    with pytest.raises(UserError, match=r"dataset.augment=Shift: Expected images .* shape \[1, 20\]\. Choose"):
        Synthetic(augment=Shift(1)).load()


def test_synthetic__augmentation_that_changes_the_shape() -> None:
    def halve(inputs: torch.Tensor, seeds: torch.Tensor) -> torch.Tensor:
        return inputs[:, ::2]

    with pytest.raises(UserError, match=r"dataset.augment=halve: it must keep the shape .* \[10\] of \[20\]"):
        Synthetic(augment=halve).load()


def test_synthetic__validation_leaves_the_test_alone() -> None:
    data = Synthetic(labels=100, validation=400).load()
    assert (len(data.train), len(data.validation), len(data.transfer)) == (100, 400, 2000)
    assert torch.equal(data.test, Synthetic().load().test)
