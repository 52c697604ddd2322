import pytest

from kd_lab.schedules.constant import constant


def test_constant__is_the_base_at_every_step() -> None:
    assert [constant(step, base=0.3, total_steps=4) for step in range(5)] == [0.3] * 5


def test_constant__warms_up_first() -> None:
    rates = [constant(step, base=1.0, total_steps=6, warmup_steps=3) for step in range(6)]

    assert rates == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0, 1.0])


def test_constant__bad_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="Expected `warmup_steps`"):
        constant(0, base=1.0, total_steps=4, warmup_steps=4)
