import pytest
import torch

from kd_lab.errors import UserError
from kd_lab.inputs import equal
from kd_lab.mixing.mixup import Mixup
from tests.job.composed import plan


def test_mixup__is_the_weighted_mean_of_the_two_samples() -> None:
    ones, fours = torch.ones(3, 2), torch.full((3, 2), 4.0)
    for seed in range(20):
        mixed, share = Mixup()(ones, fours, seed)
        assert isinstance(mixed, torch.Tensor)
        torch.testing.assert_close(mixed, torch.full((3, 2), share + (1 - share) * 4))


@pytest.mark.parametrize(("alpha", "variance"), [(1.0, 1 / 12), (0.2, 1 / (4 * 1.4)), (4.0, 1 / (4 * 9))])
def test_mixup__shares_are_of_a_beta_distribution(alpha: float, variance: float) -> None:
    """Mean 1/2, variance 1 / (4 (2 alpha + 1)); 2000 draws, five standard errors."""
    sample = torch.zeros(1, 1)
    drawn = torch.tensor([Mixup(alpha)(sample, sample, seed)[1] for seed in range(2000)]).double()
    assert abs(drawn.mean() - 0.5) < 5 * (variance / 2000) ** 0.5
    assert float(drawn.var()) == pytest.approx(variance, rel=0.15)


def test_mixup__of_named_inputs__all_by_the_same_weight() -> None:
    one, other = {"x": torch.zeros(2, 3), "y": torch.zeros(2)}, {"x": torch.ones(2, 3), "y": torch.ones(2)}
    mixed, share = Mixup()(one, other, 1)
    assert equal(mixed, {"x": torch.full((2, 3), 1 - share), "y": torch.full((2,), 1 - share)})


def test_mixup__whole_numbers_have_no_mean() -> None:
    tokens = torch.zeros(2, 3, dtype=torch.int64)
    with pytest.raises(ValueError, match="Expected inputs of floats to mix, but got int64: a mean of such samples is"):
        Mixup()(tokens, tokens, 0)


@pytest.mark.parametrize("alpha", [0.0, -1.0, float("nan"), float("inf")])
def test_mixup__a_wrong_alpha_is_refused(alpha: float) -> None:
    with pytest.raises(ValueError, match="Expected `alpha` to be a finite number > 0, but got"):
        Mixup(alpha)


def test_mixup__a_wrong_alpha_is_a_sentence_with_its_key() -> None:
    with pytest.raises(UserError, match=r"student\.recipe\.mix\.alpha=-1\.0: expected a finite number > 0"):
        plan("student/recipe/mix=mixup", "student.recipe.mix.alpha=-1")
