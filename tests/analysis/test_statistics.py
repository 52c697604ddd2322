import itertools
import math

import numpy as np
import pytest
from scipy import stats

from kd_lab.analysis.statistics import (
    bootstrap_interval,
    difference,
    gap_recovered,
    holm,
    paired_t,
    spread,
    verdict,
    wilcoxon,
)

# METHODS.md 3.3: accuracies of ten seeds, in %.
ALONE = np.array([90.50, 91.50, 91.83, 92.33, 92.17, 92.17, 92.83, 91.67, 92.50, 93.00])
KD = np.array([96.00, 95.50, 96.00, 95.67, 95.50, 96.17, 95.33, 95.17, 94.83, 96.00])


def test_spread__by_hand():
    found = spread(np.array([1.0, 2.0, 3.0, 4.0, np.nan]))
    # sd = sqrt(5/3); t of 3 degrees of freedom at 0.975 is 3.182446 in every table
    half = 3.182446 * math.sqrt(5 / 3) / 2
    assert found.n == 4
    assert (found.mean, found.sd) == pytest.approx((2.5, math.sqrt(5 / 3)))
    assert (found.low, found.high) == pytest.approx((2.5 - half, 2.5 + half), rel=1e-6)


def test_spread__as_scipy_has_it():
    low, high = stats.t.interval(0.95, 9, loc=KD.mean(), scale=stats.sem(KD))
    assert (spread(KD).low, spread(KD).high) == pytest.approx((low, high))


def test_spread__one_value_has_no_spread_and_none_has_no_mean():
    one, none = spread(np.array([0.9])), spread(np.array([np.nan]))
    assert (one.n, one.mean) == (1, 0.9)
    assert np.isnan([one.sd, one.low, one.high]).all()
    assert none.n == 0
    assert math.isnan(none.mean)


def test_difference__the_published_example():
    found = difference(KD - ALONE)
    assert (found.wins, found.pairs) == (10, 10)
    assert found.mean == pytest.approx(3.567, abs=5e-4)
    assert (found.low, found.high) == pytest.approx((3.07, 4.13), abs=0.04)
    assert found.p_t == pytest.approx(6.2e-7, rel=0.02)
    assert found.p_wilcoxon == pytest.approx(0.002, abs=5e-5)


def test_difference__a_win_is_what_is_better():
    values = np.array([0.1, 0.0, -0.1, -0.2, np.nan])
    assert (difference(values).wins, difference(values).pairs) == (1, 4)
    assert difference(values, higher_is_better=False).wins == 2


def test_difference__rounding_of_floats_is_no_difference():
    values = np.array([0.93 - 0.91, 0.92 - 0.90, 0.95 - 0.93])
    assert np.ptp(values) > 0
    assert difference(values).p_t == 0.25
    assert difference(np.array([0.3 - 0.2 - 0.1] * 3)).wins == 0


def test_difference__no_pair():
    found = difference(np.empty(0))
    assert (found.wins, found.pairs) == (0, 0)
    assert np.isnan([found.mean, found.low, found.high, found.p_t, found.p_wilcoxon]).all()


def test_difference__columns():
    assert set(difference(KD - ALONE).columns("to_kd")) == {
        f"to_kd_{name}" for name in ("mean", "low", "high", "p_t", "p_wilcoxon", "wins", "pairs")
    }


def test_paired_t__by_hand():
    # t = 2 sqrt(3); with 2 degrees of freedom p = 1 - t / sqrt(t^2 + 2)
    assert paired_t(np.array([1.0, 2.0, 3.0])) == pytest.approx(1 - math.sqrt(12 / 14))


def test_paired_t__as_scipy_has_it():
    assert paired_t(KD - ALONE) == pytest.approx(stats.ttest_rel(KD, ALONE).pvalue)


@pytest.mark.parametrize(
    ("values", "p"), [([0.0] * 5, 1.0), ([0.01] * 5, 0.0625), ([-0.01] * 2, 0.5), ([0.01] * 10, 2**-9)]
)
def test_paired_t__equal_differences__the_sign_test(values, p):
    assert paired_t(np.array(values)) == p


@pytest.mark.parametrize("test", [paired_t, wilcoxon])
def test_tests__one_pair_is_no_test(test):
    assert math.isnan(test(np.array([0.1])))
    assert math.isnan(test(np.empty(0)))


def signed_rank_p(values):
    """Every assignment of signs is as likely: how many have a statistic at least as extreme."""
    ranks = stats.rankdata(np.abs(values))
    seen = min(ranks[values > 0].sum(), ranks[values < 0].sum())
    sums = [
        sum(r for r, up in zip(ranks, ups, strict=True) if up) for ups in itertools.product([0, 1], repeat=len(ranks))
    ]
    return min(1.0, 2 * np.mean([s <= seen for s in sums]))


@pytest.mark.parametrize(
    ("values", "p"), [([1, 2, 3], 0.25), ([1, -2, 3, 4, 5], 6 / 32), ([1, 2, 0, 3, 0], 0.25), ([1, 1, 1, 1, 1], 0.0625)]
)
def test_wilcoxon__by_hand(values, p):
    assert wilcoxon(np.array(values, dtype=float)) == pytest.approx(p)


@pytest.mark.parametrize("seed", range(5))
def test_wilcoxon__every_sign(seed):
    values = np.random.default_rng(seed).normal(0.5, 1, size=8)
    assert wilcoxon(values) == pytest.approx(signed_rank_p(values))
    assert wilcoxon(values) == pytest.approx(float(stats.wilcoxon(values).pvalue))


def test_wilcoxon__all_zero():
    assert wilcoxon(np.zeros(5)) == 1.0


def test_holm__by_hand():
    # in order 0.005 x 4, 0.01 x 3, 0.03 x 2, and 0.04 x 1 may not fall below the one before
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm__no_test_is_not_counted():
    found = holm(np.array([np.nan, 0.02, 0.9, np.nan]))
    assert found[1:3] == pytest.approx([0.04, 0.9])
    assert np.isnan(found[[0, 3]]).all()
    assert holm(np.empty(0)).size == 0


def test_holm__at_most_1_and_alone_unchanged():
    assert holm(np.array([0.7, 0.8])) == pytest.approx([1.0, 1.0])
    assert holm(np.array([0.04])) == pytest.approx([0.04])


@pytest.mark.parametrize(
    ("mean", "p", "higher_is_better", "said"),
    [
        (0.1, 0.049, True, "better"),
        (-0.1, 0.049, True, "worse"),
        (-0.1, 0.049, False, "better"),
        (0.1, 0.05, True, "not distinguishable"),
        (0.1, float("nan"), True, "not distinguishable"),
    ],
)
def test_verdict(mean, p, higher_is_better, said):
    assert verdict(mean, p, higher_is_better=higher_is_better) == said


def test_gap_recovered__of_the_means():
    teacher = np.full(10, 96.5)
    assert gap_recovered(KD / 100, ALONE / 100, teacher / 100) == pytest.approx(0.80, abs=0.005)


def test_gap_recovered__only_where_all_three_are_known():
    student, alone = np.array([0.94, 0.99]), np.array([0.90, np.nan])
    assert gap_recovered(student, alone, np.array([0.95, 0.95])) == pytest.approx(0.8)
    assert math.isnan(gap_recovered(student, np.full(2, np.nan), np.full(2, 0.95)))


def test_gap_recovered__small_gap__undefined():
    assert math.isnan(gap_recovered(np.array([0.93]), np.array([0.926]), np.array([0.93])))
    assert gap_recovered(np.array([0.93]), np.array([0.925]), np.array([0.93])) == pytest.approx(1)


def test_gap_recovered__gap_below_two_standard_errors__undefined():
    alone, teacher = np.array([0.80, 0.90, 0.85, 0.95]), np.full(4, 0.9)
    # the gaps 0.1, 0, 0.05, -0.05 have the mean 0.025 and the standard error 0.032
    assert math.isnan(gap_recovered(alone + 0.01, alone, teacher))
    assert gap_recovered(alone + 0.01, alone, teacher + 0.1) == pytest.approx(0.01 / 0.125)


def test_bootstrap_interval__two_values__the_known_distribution():
    """Of two values the mean of a resample is low, middle or high with probability 1/4, 1/2, 1/4."""
    assert bootstrap_interval(np.array([0.0, 1.0])) == (0.0, 1.0)


def test_bootstrap_interval__normal_values__near_the_normal_interval():
    values = np.random.default_rng(1).normal(size=400)
    low, high = bootstrap_interval(values)
    half = 1.96 * values.std(ddof=1) / 20
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.1 * half)


def test_bootstrap_interval__as_drawn_one_by_one():
    values = np.array([0.1, 0.4, 0.2])
    means = np.random.default_rng(7).choice(np.sort(values), size=(10_000, 3)).mean(axis=1)
    assert bootstrap_interval(values, seed=7) == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])))


def test_bootstrap_interval__order_does_not_matter():
    values = np.array([0.1, 0.4, 0.2, -0.3, 0.25])
    assert bootstrap_interval(values) == bootstrap_interval(values[::-1])


def test_bootstrap_interval__one_value__none():
    assert np.isnan(bootstrap_interval(np.array([1.0]))).all()
