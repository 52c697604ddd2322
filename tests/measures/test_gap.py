import pytest

from kd_lab.measures.gap import gap_recovered


@pytest.mark.parametrize(
    ("student", "baseline", "teacher", "expected"),
    [(0.95, 0.90, 1.0, 0.5), (0.97, 0.90, 0.95, 1.4), (0.88, 0.90, 0.95, -0.4), (0.90, 0.90, 0.95, 0.0)],
)
def test_gap_recovered__values(student, baseline, teacher, expected):
    assert gap_recovered(student, baseline, teacher) == pytest.approx(expected)


@pytest.mark.parametrize(("baseline", "teacher"), [(0.90, 0.90), (0.95, 0.90), (0.90, 0.9049)])
def test_gap_recovered__no_gap_no_share(baseline, teacher):
    assert gap_recovered(0.92, baseline, teacher) is None


@pytest.mark.parametrize("points", range(100, 990, 7))
def test_gap_recovered__half_a_point_counts_whatever_its_rounding(points):
    baseline = points / 1000
    assert gap_recovered(baseline, baseline, (points + 5) / 1000) == 0.0
