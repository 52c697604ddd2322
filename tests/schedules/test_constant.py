from kd_lab.schedules.constant import constant


def test_constant__is_the_base_at_every_step() -> None:
    assert [constant(step, base=0.3, total_steps=4) for step in range(5)] == [0.3] * 5
