"""How many torch threads a training takes, and what is said of it."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from kd_lab.job import threads
from kd_lab.job.threads import Others, crowded, described, of_job, other_threads
from tests.job.composed import plan


@pytest.fixture(autouse=True)
def _two() -> Iterator[None]:
    """As on a machine of two cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def others(cores: float) -> Any:
    return SimpleNamespace(cores=lambda: cores)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ([], [1, 1, 1]),  # the built-in job: the largest step is a CNN's of 43 million multiply-accumulates
        (["teacher.recipe.batch_size=64"], [2, 1, 1]),
        (["student.widths=[4096,4096]"], [1, 2, 2]),
        (["teacher.recipe.batch_size=64", "teacher.cache=off"], [2, 1, 2]),  # all three members answer in every step
        (["trainer.threads=2", "teacher=mlp"], [2, 2, 2]),
        (["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"], [1, 1, 1]),  # each of two
        (["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.threads=2"], [2, 2, 2]),
    ],
)
def test_threads__by_the_size_of_a_step_unless_told(overrides: list[str], expected: list[int]) -> None:
    assert list(of_job(plan(*overrides)).values()) == expected


def test_threads__a_network_whose_steps_cannot_be_counted__torchs_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> dict[str, float]:
        raise RuntimeError("no such operator")

    monkeypatch.setattr(threads, "macs", broken)
    monkeypatch.setattr(threads, "_counted", {})
    assert of_job(plan("teacher=none", "loss=none", "baseline=false")) == {"the student": 2}


def test_described__only_where_it_is_not_torchs_own() -> None:
    assert described(plan("teacher.recipe.batch_size=64")) == [
        "1 torch thread, not 2, trains the student alone and the student: small steps (trainer.threads=N chooses)"
    ]
    assert described(plan("trainer.threads=2")) == []
    torch.set_num_threads(1)
    assert described(plan()) == []


def test_other_threads__of_a_network_that_is_found_again() -> None:
    made = plan("teacher.recipe.batch_size=64")
    assert made.built is not None
    assert made.built.teacher is not None
    spec, network = made.specs.teacher, made.built.teacher
    assert spec is not None
    assert other_threads(made, spec, network, "1") == [
        "was trained with 1 torch threads, and this job would take 2: another rounding, no more"
    ]
    assert other_threads(made, spec, network, "2") == other_threads(made, spec, network, None) == []


def test_crowded__advises_and_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads.psutil, "cpu_count", lambda: 2)
    large = plan("teacher.recipe.batch_size=64")
    assert crowded(large, others(1.0)) == (
        "other programs keep this machine busy, and 2 torch threads on 2 cores would wait for them: trainer.threads=1 "
        "may be many times as fast"
    )
    assert of_job(large)["the teacher"] == 2
    assert crowded(large, others(0.2)) is None
    assert crowded(plan(), others(2.0)) is None  # one thread waits for nobody
    assert crowded(plan("trainer.threads=2"), others(2.0)) is None


def test_others__what_this_process_took_is_not_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_busy_s", iter([100.0, 107.0]).__next__)
    clock = {"process_time": iter([1.0, 3.0]).__next__, "monotonic": iter([50.0, 54.0]).__next__}
    monkeypatch.setattr(threads, "time", SimpleNamespace(**clock))
    assert Others().cores() == (7 - 2) / 4
