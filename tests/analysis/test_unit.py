import math

import pytest

from kd_lab import names
from kd_lab.analysis.unit import Unit

ACCURACY, NLL = Unit(names.TEST_ACCURACY_TOP1), Unit(names.TEST_NLL_NATS)


def test_unit__fractions_in_percent_and_points__others_as_they_are():
    assert (ACCURACY.heading, ACCURACY.symbol, ACCURACY.of_difference) == ("test accuracy, %", "%", " points")
    assert (ACCURACY.reached(0.9533), ACCURACY.signed(0.04), ACCURACY.signed(-0.04)) == ("95.33%", "+4.00", "-4.00")
    assert (NLL.heading, NLL.symbol, NLL.of_difference) == ("test/nll_nats", "nll_nats", "")
    assert (NLL.reached(0.18234), NLL.signed(0.1), NLL.signed(-0.1)) == ("0.1823", "+0.1", "-0.1")
    assert ACCURACY.interval(-0.01, 0.02) == "[-1.00, +2.00]"
    assert NLL.interval(0.1, 0.2, signed=False) == "[0.1, 0.2]"


def test_unit__a_share_is_from_0_to_1():
    assert (ACCURACY.range, NLL.range) == ((0, 1), (-math.inf, math.inf))


@pytest.mark.parametrize("unit", [ACCURACY, NLL])
def test_unit__what_is_not_there__a_dash(unit):
    assert {unit.value(math.nan), unit.signed(math.nan), unit.interval(0.1, math.nan)} == {"-"}
    assert unit.with_sd(0.5, math.nan) == unit.value(0.5)


def test_unit__infinite_and_negative_zero():
    assert (NLL.value(math.inf), NLL.signed(math.inf)) == ("inf", "+inf")
    assert (NLL.signed(-0.0), ACCURACY.signed(-0.0)) == ("-0", "-0.00")
