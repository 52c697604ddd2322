import math

import pytest

from kd_lab.schedules.inverse_time import inverse_time


def test_inverse_time__table() -> None:
    rates = [inverse_time(step, base=6.0, total_steps=4, decay_rate=2.0) for step in range(5)]

    assert rates == pytest.approx([6.0, 4.0, 3.0, 2.4, 2.0])


def test_inverse_time__without_a_rate_is_the_articles() -> None:
    """eta_0 / (1 + eta_0 t / T) with eta_0 = 1/2 and T = 2."""
    rates = [inverse_time(step, base=0.5, total_steps=2) for step in range(3)]

    assert rates == pytest.approx([0.5, 0.5 / 1.25, 0.5 / 1.5])


def test_inverse_time__the_articles_decay_is_a_thousandth_at_adams_rate() -> None:
    assert inverse_time(100, base=1e-3, total_steps=100) == pytest.approx(1e-3 / 1.001)


def test_inverse_time__decay_starts_after_the_warmup() -> None:
    rates = [inverse_time(step, base=1.0, total_steps=3, warmup_steps=1, decay_rate=1.0) for step in range(4)]

    assert rates == pytest.approx([0.5, 1.0, 1 / 1.5, 0.5])


@pytest.mark.parametrize("decay_rate", [-1.0, math.nan, math.inf])
def test_inverse_time__bad_rate_is_refused(decay_rate: float) -> None:
    message = rf"`decay_rate` to be a finite number >= 0 or null, but got {decay_rate}\."
    with pytest.raises(ValueError, match=message):
        inverse_time(0, base=1.0, total_steps=4, decay_rate=decay_rate)
