import math

import pytest

from kd_lab.schedules.common.warmup import check_settings, progress, warmup_factor, warmup_length

GOOD = {"base": 0.1, "total_steps": 10, "warmup_steps": 3}


def test_warmup_factor__rises_in_equal_increments_and_stays_at_one() -> None:
    assert [warmup_factor(step, 4) for step in range(7)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.0, 1.0])


def test_warmup_factor__without_warmup_is_one() -> None:
    assert [warmup_factor(step, 0) for step in range(3)] == [1.0, 1.0, 1.0]


def test_warmup_factor__cosine_is_half_a_wave_over_the_same_points() -> None:
    half = math.sqrt(0.5)
    expected = [(1 - half) / 2, 0.5, (1 + half) / 2, 1.0, 1.0]
    assert [warmup_factor(step, 3, "cosine") for step in range(5)] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("warmup_steps", "total_steps", "length"), [(0, 10, 0), (3, 10, 3), (0.25, 8, 2), (0.25, 10, 2), (0.999, 10, 9)]
)
def test_warmup_length__below_one_is_a_share_of_all_steps(warmup_steps: float, total_steps: int, length: int) -> None:
    assert warmup_length(warmup_steps, total_steps) == length


def test_progress__starts_after_the_warmup_and_ends_at_one() -> None:
    done = [progress(step, total_steps=6, warmup_steps=2) for step in range(7)]

    assert done == [0.0, 0.0, 0.0, 0.25, 0.5, 0.75, 1.0]


@pytest.mark.parametrize("step", [0, 9, 10])
def test_check_settings__accepts_every_step_and_the_end(step: int) -> None:
    check_settings(step, **GOOD)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"base": 0.0}, r"`base` to be a finite number > 0, but got 0\.0\."),
        ({"base": math.nan}, r"`base` to be a finite number > 0, but got nan\."),
        ({"base": math.inf}, r"`base` to be a finite number > 0, but got inf\."),
        ({"total_steps": 0}, r"`total_steps` to be >= 1, but got 0\."),
        ({"warmup_steps": -1}, r"`warmup_steps` to be a finite number >= 0, but got -1\."),
        ({"warmup_steps": math.nan}, r"`warmup_steps` to be a finite number >= 0, but got nan\."),
        ({"warmup_steps": 10}, r"`warmup_steps` to be >= 0 and < 10 \(all steps\), but got 10\."),
        ({"step": -1}, r"`step` to be >= 0 and <= 10 \(all steps\), but got -1\."),
        ({"step": 11}, r"`step` to be >= 0 and <= 10 \(all steps\), but got 11\."),
    ],
)
def test_check_settings__names_what_is_out_of_range(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_settings(**({"step": 0} | GOOD | wrong))
