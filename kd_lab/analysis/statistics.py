"""What repeated runs say: means with intervals, paired differences with tests, a verdict. Pure functions on arrays.

Differences are paired: of the same seed and split, so what the seed does to both falls out. A verdict rests on the
paired t-test, corrected after Holm (1979) over the arms of a table. With n pairs the Wilcoxon signed-rank test cannot
go below 2^(1 - n): 0.0625 with five.
"""

from dataclasses import asdict, dataclass
from functools import cache

import numpy as np
from scipy import special, stats

from kd_lab.measures.gap import MIN_GAP

LEVEL = 0.05
DECIMALS = 9
"""Differences are rounded here: equal ones must be equal, and 0.93 - 0.91 is not 0.92 - 0.90 in floating point."""

NAN = float("nan")
BETTER, WORSE, NOT_DISTINGUISHABLE, NOT_TESTED = "better", "worse", "not distinguishable", "not tested"


@dataclass(frozen=True)
class Spread:
    """Values of one arm: how many, their mean, the sample standard deviation and the 95% t interval of the mean."""

    n: int
    mean: float
    sd: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """Paired differences: the mean, its 95% t interval, the p values of both tests, wins of so many pairs.

    The interval leaves out 0 where, and only where, `p_t` is below 0.05.
    """

    mean: float
    low: float
    high: float
    p_t: float
    p_wilcoxon: float
    wins: int
    pairs: int

    def columns(self, prefix: str) -> dict[str, float]:
        """As columns of a table: `to_kd_mean`, ..."""
        return {f"{prefix}_{name}": value for name, value in asdict(self).items()}


def spread(values: np.ndarray) -> Spread:
    """Mean, spread and interval of `values` [N], NaN left out; sd and interval are NaN for fewer than two."""
    values = _known(values)
    n = values.size
    mean = float(values.mean()) if n else NAN
    return Spread(n, mean, float(values.std(ddof=1)) if n > 1 else NAN, *_t_interval(values))


def difference(values: np.ndarray, *, higher_is_better: bool = True) -> Difference:
    """All that is said of paired differences `values` [N], NaN left out; `higher_is_better` decides what a win is."""
    values = _known(values).round(DECIMALS)
    low, high = _t_interval(values)
    wins = int((values > 0).sum() if higher_is_better else (values < 0).sum())
    mean = float(values.mean()) if values.size else NAN
    return Difference(mean, low, high, paired_t(values), wilcoxon(values), wins, values.size)


def paired_t(values: np.ndarray) -> float:
    """The two-sided p value of the paired t-test on differences `values` [N]; NaN for fewer than two.

    Where all differences are equal, t is infinite, and only because accuracies are counted in steps: then p is the
    sign test's, 2^(1 - N), or 1 where all are 0.
    """
    n = values.size
    if n < 2:
        return NAN
    if np.ptp(values) == 0:
        return 1.0 if values[0] == 0 else float(2.0 ** (1 - n))
    t = values.mean() / (values.std(ddof=1) / n**0.5)
    return float(2 * special.stdtr(n - 1, -abs(t)))


def wilcoxon(values: np.ndarray) -> float:
    """The two-sided p value of the Wilcoxon signed-rank test on differences `values` [N]; NaN for fewer than two.

    Zeros are left out of the ranks (Wilcoxon's own rule); 1 where all are 0.
    """
    if values.size < 2:
        return NAN
    values = values[values != 0]
    ranks = np.sign(values) * stats.rankdata(np.abs(values))
    return _of_ranks(tuple(sorted(ranks.tolist()))) if values.size else 1.0


def holm(p_values: np.ndarray) -> np.ndarray:
    """Holm's (1979) correction of `p_values` [N] over their number: the smallest times N, the next times N - 1, ...

    Never falling, at most 1. NaN is no test: it stays NaN and is not counted.
    """
    corrected = np.full(p_values.size, NAN)
    tested = np.flatnonzero(~np.isnan(p_values))
    order = tested[np.argsort(p_values[tested], kind="stable")]
    factors = np.arange(order.size, 0, -1)
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(p_values[order] * factors))
    return corrected


def verdict(mean: float, p: float, *, higher_is_better: bool = True) -> str:
    """In words, from the mean difference and its corrected p value, which is NaN where nothing could be tested."""
    if np.isnan(p):
        return NOT_TESTED
    if p >= LEVEL:
        return NOT_DISTINGUISHABLE
    return BETTER if (mean > 0) == higher_is_better else WORSE


def gap_recovered(student: np.ndarray, baseline: np.ndarray, teacher: np.ndarray) -> float:
    """(student - baseline) / (teacher - baseline), of the means of accuracies 0..1, each [N] over the same seeds.

    Above 1 the students beat their teachers, below 0 distilling did harm. NaN where the mean gap teacher - baseline is
    below half a point, or below twice its standard error over the seeds: a share of noise means nothing.
    """
    complete = ~(np.isnan(student) | np.isnan(baseline) | np.isnan(teacher))
    if not complete.any():
        return NAN
    gaps = (teacher - baseline)[complete]
    gap = float(gaps.mean())
    error = float(gaps.std(ddof=1)) / gaps.size**0.5 if gaps.size > 1 else 0.0
    # The tolerance lets accuracies exactly half a point apart count, whatever their rounding.
    if gap < max(MIN_GAP, 2 * error) - 1e-12:
        return NAN
    return float((student - baseline)[complete].mean()) / gap


def _t_interval(values: np.ndarray) -> tuple[float, float]:
    """The 95% t interval of the mean; NaN for fewer than two values, or equal ones: no width would claim too much."""
    if values.size < 2 or np.ptp(values) == 0:
        return NAN, NAN
    half = float(special.stdtrit(values.size - 1, 0.975)) * float(values.std(ddof=1)) / values.size**0.5
    return float(values.mean()) - half, float(values.mean()) + half


def _known(values: np.ndarray) -> np.ndarray:
    found: np.ndarray = np.asarray(values, dtype=np.float64)
    known: np.ndarray = found[~np.isnan(found)]
    return known


@cache
def _of_ranks(signed: tuple[float, ...]) -> float:
    """Wilcoxon's p value, which depends on nothing but the signed ranks: a thousand arms have few different ones."""
    return float(stats.wilcoxon(signed).pvalue)
