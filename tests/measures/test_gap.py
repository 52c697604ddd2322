import numpy as np
import pytest

from kd_lab.measures.gap import difference_error, gap_recovered


@pytest.mark.parametrize(
    ("student", "baseline", "teacher", "expected"),
    [(0.95, 0.90, 1.0, 0.5), (0.97, 0.90, 0.95, 1.4), (0.88, 0.90, 0.95, -0.4), (0.90, 0.90, 0.95, 0.0)],
)
def test_gap_recovered__values(student, baseline, teacher, expected):
    assert gap_recovered(student, baseline, teacher) == pytest.approx(expected)


@pytest.mark.parametrize(("baseline", "teacher"), [(0.90, 0.90), (0.95, 0.90), (0.90, 0.9049)])
def test_gap_recovered__no_gap_no_share(baseline, teacher):
    assert gap_recovered(0.92, baseline, teacher) is None


def test_gap_recovered__less_than_two_standard_errors__no_share():
    assert gap_recovered(0.92, 0.90, 0.94, 0.021) is None
    assert gap_recovered(0.92, 0.90, 0.94, 0.019) == pytest.approx(0.5)


def test_difference_error__as_by_counting_who_is_right_alone():
    """sqrt(b + c - (b - c)^2 / n) / n, where b samples are right in the one alone and c in the other alone."""
    one = np.array([True] * 50 + [True] * 12 + [False] * 5 + [False] * 33)
    other = np.array([True] * 50 + [False] * 12 + [True] * 5 + [False] * 33)
    assert difference_error(one, other) == pytest.approx((12 + 5 - 49 / 100) ** 0.5 / 100)
    assert difference_error(one, one) == 0


@pytest.mark.parametrize("points", range(100, 990, 7))
def test_gap_recovered__half_a_point_counts_whatever_its_rounding(points):
    baseline = points / 1000
    assert gap_recovered(baseline, baseline, (points + 5) / 1000) == 0.0
