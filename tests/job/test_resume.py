"""Which trainings keep states, where, and what is said of those that keep none."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kd_lab.errors import UserError
from kd_lab.job.plan import Plan
from kd_lab.job.resume import states_of
from kd_lab.store.location import Location
from kd_lab.training.states import States
from tests.job.composed import plan, settings

SMALL = ["dataset=synthetic", "teacher=mlp"]


class Said:
    def __init__(self) -> None:
        self.notes: list[str] = []
        self.warnings: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def warn(self, text: str) -> None:
        self.warnings.append(text)


@pytest.fixture
def store(tmp_path: Path) -> Any:
    return SimpleNamespace(location=Location.parse(f"sqlite:///{tmp_path}/mlflow.db"))


@pytest.fixture(scope="module")
def small() -> Plan:
    return plan(*SMALL)


def test_states_of__beside_the_store_by_the_key_of_the_network(small: Plan, store: Any, tmp_path: Path) -> None:
    said: Any = Said()
    specs = small.specs
    with (
        states_of(small, specs.student, store, said) as student,
        states_of(small, specs.baseline, store, said) as alone,
    ):  # type: ignore[arg-type]
        assert isinstance(student, States)
        assert isinstance(alone, States)
    assert student.folder == tmp_path / "mlflow.db.checkpoints" / specs.world.key(specs.student)[:32]
    assert student.folder != alone.folder
    assert (student.every_s, student.training) == (300.0, "main")
    student.tell("student: goes on")
    assert (said.notes, said.warnings) == ([], ["student: goes on"])
    assert list((tmp_path / "mlflow.db.locks").iterdir()) == []


def test_states_of__one_job_at_a_time_has_them(small: Plan, store: Any) -> None:
    said: Any = Said()
    with states_of(small, small.specs.student, store, said) as first:
        with states_of(small, small.specs.student, store, said) as second:
            assert second is None
        with states_of(small, small.specs.student, store, said) as third:
            assert third is None
    with states_of(small, small.specs.student, store, said) as again:
        assert again is not None
        assert first is not None
        assert again.folder == first.folder


def test_states_of__none_are_asked_for(store: Any) -> None:
    off, said = plan(*SMALL, "checkpoint.every_s=null"), Said()
    with states_of(off, off.specs.student, store, said) as none:  # type: ignore[arg-type]
        assert none is None
    assert said.notes == []


def test_states_of__says_why_there_are_none(store: Any) -> None:
    made, said = plan(*SMALL, "callbacks.mine._target_=pytorch_lightning.callbacks.Timer"), Said()
    with states_of(made, made.specs.student, store, said) as none:  # type: ignore[arg-type]
        assert none is None
    reason = "nobody knows the state of callbacks of yours"
    assert said.notes == [f"student: keeps no state and begins anew if it is interrupted: {reason}"]


def test_states_of__are_found_with_another_number_of_processes_and_the_network_is_not(small: Plan, store: Any) -> None:
    two = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"]
    plans = [small, plan(*SMALL, *two), plan(*SMALL, *two, "trainer.sync_batchnorm=true")]
    folders, keys = set(), set()
    for one in plans:
        with states_of(one, one.specs.student, store, Said()) as states:  # type: ignore[arg-type]
            assert states is not None
            folders.add(states.folder)
        for role in (one.specs.teacher, one.specs.baseline, one.specs.student):
            assert role is not None
            keys.add(one.specs.world.key(role))
        keys.add(one.specs.job_key())
    assert len(folders) == 1
    assert len(keys) == 4 * len(plans)


@pytest.mark.parametrize("value", ["0", "-1", "often"])
def test_settings__how_often_is_a_time(value: str) -> None:
    with pytest.raises(UserError, match=rf"^checkpoint\.every_s={value}: expected a "):
        settings(f"checkpoint.every_s={value}")
