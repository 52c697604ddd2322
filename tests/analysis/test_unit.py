import math

from kd_lab import names
from kd_lab.analysis.unit import Unit


def test_unit__fractions_in_percent_and_points():
    unit = Unit(names.TEST_ACCURACY_TOP1)
    assert (unit.heading, unit.reached(0.9533), unit.signed(0.04), unit.of_difference) == (
        "test accuracy, %",
        "95.33%",
        "+4.00",
        " points",
    )
    assert unit.interval(-0.01, 0.02) == "[-1.00, +2.00]"


def test_unit__others_as_they_are():
    unit = Unit(names.TEST_NLL_NATS)
    assert (unit.heading, unit.value(0.18234), unit.signed(0.1), unit.signed(-0.1)) == (
        "test/nll_nats",
        "0.1823",
        "+0.1",
        "-0.1",
    )
    assert unit.of_difference == ""


def test_unit__what_is_not_there__a_dash():
    for metric in (names.TEST_ACCURACY_TOP1, names.TEST_NLL_NATS):
        unit = Unit(metric)
        assert {unit.value(math.nan), unit.signed(math.nan), unit.interval(0.1, math.nan)} == {"-"}
        assert unit.with_sd(0.5, math.nan) == unit.value(0.5)
