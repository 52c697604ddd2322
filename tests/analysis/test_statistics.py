import itertools
import math

import numpy as np
import pytest
from scipy import stats

from kd_lab.analysis.statistics import (
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


def test_spread__as_scipy_has_it__nan_left_out():
    found = spread(np.append(KD, np.nan))
    assert (found.n, found.mean, found.sd) == (10, pytest.approx(KD.mean()), pytest.approx(KD.std(ddof=1)))
    assert (found.low, found.high) == pytest.approx(stats.t.interval(0.95, 9, loc=KD.mean(), scale=stats.sem(KD)))


def test_spread__one_value_has_no_spread_and_none_has_no_mean():
    one, none = spread(np.array([0.9])), spread(np.array([np.nan]))
    assert (one.n, one.mean, none.n) == (1, 0.9, 0)
    assert np.isnan([one.sd, one.low, one.high, none.mean]).all()


def test_difference__the_published_example():
    found = difference(KD - ALONE)
    assert (found.wins, found.pairs) == (10, 10)
    assert found.mean == pytest.approx(3.567, abs=5e-4)
    interval = stats.ttest_rel(KD, ALONE).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.p_t == pytest.approx(stats.ttest_rel(KD, ALONE).pvalue) == pytest.approx(6.2e-7, rel=0.02)
    assert found.p_wilcoxon == pytest.approx(0.002, abs=5e-5)
    names = ("mean", "low", "high", "p_t", "p_wilcoxon", "wins", "pairs")
    assert set(found.columns("to_kd")) == {f"to_kd_{name}" for name in names}


@pytest.mark.parametrize("pairs", [2, 3, 5, 10])
def test_difference__the_interval_leaves_out_0_where_the_test_finds_a_difference(pairs):
    draws = np.random.default_rng(pairs)
    found = [difference(draws.normal(shift, 1, size=pairs)) for shift in np.linspace(0, 9, 200)]
    apart = [not one.low <= 0 <= one.high for one in found]
    assert apart == [one.p_t < 0.05 for one in found]
    assert {True, False} == set(apart)


def test_difference__equal_ones__no_interval_that_claims_what_the_test_does_not():
    found = difference(np.array([0.1, 0.1]))
    assert found.p_t == 0.5
    assert np.isnan([found.low, found.high]).all()


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
    signs = itertools.product([0, 1], repeat=len(ranks))
    return min(1.0, 2 * np.mean([np.dot(ranks, up) <= seen for up in signs]))


@pytest.mark.parametrize("seed", range(3))
def test_wilcoxon__every_sign(seed):
    values = np.random.default_rng(seed).normal(0.5, 1, size=8)
    assert wilcoxon(values) == pytest.approx(signed_rank_p(values))


@pytest.mark.parametrize(
    ("values", "p"), [([1, -2, 3, 4, 5], 6 / 32), ([1, 2, 0, 3, 0], 0.25), ([1, 1, 1, 1, 1], 0.0625), ([0] * 5, 1.0)]
)
def test_wilcoxon__by_hand__zeros_left_out(values, p):
    assert wilcoxon(np.array(values, dtype=float)) == pytest.approx(p)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        # in order 0.005 x 4, 0.01 x 3, 0.03 x 2, and 0.04 x 1 may not fall below the one before
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),
        ([np.nan, 0.02, 0.9, np.nan], [np.nan, 0.04, 0.9, np.nan]),
        ([0.7, 0.8], [1.0, 1.0]),
        ([0.04], [0.04]),
        ([], []),
    ],
)
def test_holm__by_hand(values, expected):
    assert holm(np.array(values)) == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize(
    ("mean", "p", "higher_is_better", "said"),
    [
        (0.1, 0.049, True, "better"),
        (-0.1, 0.049, True, "worse"),
        (-0.1, 0.049, False, "better"),
        (0.1, 0.05, True, "not distinguishable"),
        (0.1, float("nan"), True, "not tested"),
    ],
)
def test_verdict(mean, p, higher_is_better, said):
    assert verdict(mean, p, higher_is_better=higher_is_better) == said


VARYING = np.array([0.80, 0.90, 0.85, 0.95])


@pytest.mark.parametrize(
    ("student", "alone", "teacher", "share"),
    [
        (KD / 100, ALONE / 100, np.full(10, 0.965), (KD - ALONE).mean() / (96.5 - ALONE).mean()),
        ([0.94, 0.99], [0.90, np.nan], [0.95, 0.95], 0.8),
        ([0.94, 0.99], [np.nan, np.nan], [0.95, 0.95], np.nan),
        ([0.93], [0.925], [0.93], 1),
        ([0.93], [0.926], [0.93], np.nan),
        # gaps of 0.1, 0, 0.05, -0.05 have the mean 0.025 and the standard error 0.032
        (VARYING + 0.01, VARYING, np.full(4, 0.9), np.nan),
        (VARYING + 0.01, VARYING, np.full(4, 1.0), 0.01 / 0.125),
    ],
    ids=["published", "where all are known", "nowhere", "half a point", "less", "within noise", "beyond noise"],
)
def test_gap_recovered__of_the_means__undefined_where_the_gap_is_noise(student, alone, teacher, share):
    found = gap_recovered(*(np.array(values) for values in (student, alone, teacher)))
    assert found == pytest.approx(share, nan_ok=True)
