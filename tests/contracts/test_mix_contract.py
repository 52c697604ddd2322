"""What every mixing of conf/mix keeps: what is drawn follows from the seed alone, and the share is what it says."""

import pickle

import pytest
import torch
from torch import Tensor

from kd_lab.job.build import build
from kd_lab.types import Mix
from tests.contracts.plugins import with_target
from tests.job.composed import config

SEEDS = range(12)


@pytest.fixture(params=with_target("mix"))
def mix(request: pytest.FixtureRequest) -> Mix:
    made: Mix = build("mix", config(f"student/recipe/mix={request.param}")["student"]["recipe"]["mix"])
    return made


def images(seed: int) -> Tensor:
    return torch.rand(6, 3, 16, 12, generator=torch.Generator().manual_seed(seed))


def made(mix: Mix, one: Tensor, other: Tensor, seed: int) -> tuple[Tensor, float]:
    mixed, share = mix(one, other, seed)
    assert isinstance(mixed, Tensor)
    return mixed, share


def test_mix__keeps_shape_and_type_and_its_share_is_the_mean_weight(mix: Mix) -> None:
    """Of ones and zeros the mean of what comes out is the share of the first."""
    ones, zeros = torch.ones(2, 3, 16, 12), torch.zeros(2, 3, 16, 12)
    for seed in SEEDS:
        mixed, share = made(mix, ones, zeros, seed)
        assert (mixed.shape, mixed.dtype) == (ones.shape, ones.dtype)
        assert 0 <= share <= 1
        assert float(mixed.mean()) == pytest.approx(share, abs=1e-5)


def test_mix__follows_from_the_seed_alone(mix: Mix) -> None:
    state = torch.get_rng_state()
    found = [made(mix, images(0), images(1), seed) for seed in SEEDS]
    again = [made(mix, images(0), images(1), seed) for seed in SEEDS]
    assert all(torch.equal(x, y) and a == b for (x, a), (y, b) in zip(found, again, strict=True))
    assert len({share for _, share in found}) > len(SEEDS) // 2
    assert torch.equal(torch.get_rng_state(), state)


def test_mix__does_to_a_sample_what_it_does_to_all(mix: Mix) -> None:
    """So that pieces of a batch, in processes or one after the other, are mixed as the whole."""
    one, other = images(0), images(1)
    for seed in SEEDS:
        mixed, share = made(mix, one, other, seed)
        part, own = made(mix, one[2:4], other[2:4], seed)
        assert torch.equal(part, mixed[2:4])
        assert own == share


def test_mix__a_sample_and_itself_are_itself(mix: Mix) -> None:
    for seed in SEEDS:
        torch.testing.assert_close(made(mix, images(0), images(0), seed)[0], images(0))


def test_mix__leaves_its_inputs_alone(mix: Mix) -> None:
    one, other = images(0), images(1)
    made(mix, one, other, 3)[0].zero_()
    assert torch.equal(one, images(0))
    assert torch.equal(other, images(1))


def test_mix__pickles(mix: Mix) -> None:
    again = pickle.loads(pickle.dumps(mix))
    assert torch.equal(made(again, images(0), images(1), 5)[0], made(mix, images(0), images(1), 5)[0])
