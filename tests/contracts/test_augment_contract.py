"""What every augmentation of conf/augment keeps: what becomes of a sample follows from it and its seed alone."""

import pickle

import pytest
import torch
from torch import Tensor

from kd_lab.job.build import build
from kd_lab.seeds import of_samples
from kd_lab.types import Augment
from tests.contracts.plugins import with_target
from tests.job.composed import config


@pytest.fixture(params=with_target("augment"))
def augment(request: pytest.FixtureRequest) -> Augment:
    made: Augment = build("augment", config(f"dataset/augment={request.param}")["dataset"]["augment"])
    return made


@pytest.fixture(params=[torch.uint8, torch.float32], ids=str)
def images(request: pytest.FixtureRequest) -> Tensor:
    made = torch.randint(0, 256, (40, 3, 16, 12), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    return made if request.param == torch.uint8 else made.float() / 255


def _seeds(images: Tensor, seed: int = 0) -> Tensor:
    return of_samples(seed, torch.arange(len(images)))


def _made(augment: Augment, images: Tensor, seeds: Tensor) -> Tensor:
    made = augment(images, seeds)
    assert isinstance(made, Tensor)
    return made


def test_augment__keeps_shape_and_type_and_changes_something(augment: Augment, images: Tensor) -> None:
    made = _made(augment, images, _seeds(images))
    assert (made.shape, made.dtype) == (images.shape, images.dtype)
    assert not torch.equal(made, images)


def test_augment__leaves_its_input_alone(augment: Augment, images: Tensor) -> None:
    before = images.clone()
    made = _made(augment, images, _seeds(images))
    made.zero_()
    assert torch.equal(images, before)


def test_augment__a_sample_follows_from_its_seed_alone(augment: Augment, images: Tensor) -> None:
    state = torch.get_rng_state()
    made = _made(augment, images, _seeds(images))
    few = torch.tensor([7, 3, 31])
    assert torch.equal(_made(augment, images[few], _seeds(images)[few]), made[few])
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(_made(augment, images, _seeds(images, 1)), made)


def test_augment__pickles(augment: Augment, images: Tensor) -> None:
    again: Augment = pickle.loads(pickle.dumps(augment))
    assert torch.equal(_made(again, images, _seeds(images)), _made(augment, images, _seeds(images)))
