"""States on the disk: two, whole, of the same training; and what is said where they are not."""

import errno
import hashlib
import os
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kd_lab.training.states import States, forget_old, moment

FACTS = {"seed": 1, "trainer.threads": 1}


class Says(list[str]):
    def __call__(self, sentence: str) -> None:
        self.append(sentence)


@pytest.fixture
def said() -> Says:
    return Says()


@pytest.fixture
def states(tmp_path: Path, said: Says) -> States:
    return States(tmp_path / "mlflow.db.checkpoints" / "network", said, 300.0)


def state(step: int, **more: Any) -> dict[str, Any]:
    return {"facts": dict(FACTS), "step": step, "weights": torch.arange(3.0) + step, **more}


def files(states: States) -> list[Path]:
    return sorted(states.folder.iterdir())


def test_save__keeps_the_newest_two(states: States, said: Says) -> None:
    for step in (3, 20, 100):
        states.save("student", step, state(step))

    assert [file.name.split("-")[:2] for file in files(states)] == [["main", "000000000020"], ["main", "000000000100"]]
    found = states.load("student", FACTS)
    assert found is not None
    assert torch.equal(found["weights"], torch.arange(3.0) + 100)
    assert said == []
    assert states.folder.stat().st_mode & 0o777 == 0o700


def test_save__what_was_begun_anew_takes_the_place_of_what_had_come_further(states: States) -> None:
    for step in (90, 100):
        states.save("student", step, state(step))
    states.of("member-0").save("teacher 1/2", 95, state(95))

    for step in (3, 6):
        states.save("student", step, state(step))

    assert [file.name.rpartition("-")[0] for file in files(states)] == [
        "main-000000000003",
        "main-000000000006",
        "member-0-000000000095",
    ]


def test_states__of_another_training_of_the_same_network_are_its_own(states: States) -> None:
    states.of("member-0").save("teacher 1/2", 5, state(5))

    assert states.load("student", FACTS) is None
    found = states.of("member-0").load("teacher 1/2", FACTS)
    assert found is not None
    assert found["step"] == 5


@pytest.mark.parametrize("damage", ["cut", "changed", "link"])
def test_load__leaves_a_damaged_state_out_and_takes_the_one_before(
    states: States, said: Says, tmp_path: Path, damage: str
) -> None:
    for step in (3, 4):
        states.save("student", step, state(step))
    newest = files(states)[-1]
    content = newest.read_bytes()
    if damage == "cut":
        newest.write_bytes(content[: len(content) // 2])
    elif damage == "changed":
        newest.write_bytes(content[:-400] + bytes([content[-400] ^ 1]) + content[-399:])
    else:
        newest.rename(tmp_path / "elsewhere")
        newest.symlink_to(tmp_path / "elsewhere")

    found = states.load("student", FACTS)

    assert found is not None
    assert found["step"] == 3
    assert said == [f"student: a state in {newest} is damaged and left out"]


def test_load__runs_nothing_that_is_in_a_file(states: States, said: Says, tmp_path: Path) -> None:
    class Runs:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "ran"),)

    states.save("student", 1, state(1))
    made = states.folder / "made"
    torch.save({"facts": dict(FACTS), "step": Runs()}, made)
    digest = hashlib.sha256(made.read_bytes()).hexdigest()[:32]
    made.rename(states.folder / f"main-{9:012}-{digest}.state")

    found = states.load("student", FACTS)

    assert found is not None
    assert found["step"] == 1
    assert len(said) == 1
    assert not (tmp_path / "ran").exists()


def test_load__says_what_is_other(states: States, said: Says) -> None:
    states.save("student", 3, state(3))

    assert states.load("student", {**FACTS, "trainer.threads": 4}) is None
    assert said == ["student: begins anew, its state is of other trainer.threads (1, now 4)"]


def test_save__a_full_disk_is_said_once(states: States, said: Says, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    states.save("student", 1, state(1))
    monkeypatch.setattr("kd_lab.training.states.os.fsync", full)
    for step in (2, 3):
        states.save("student", step, state(step))

    assert said == ["student: its state cannot be kept (No space left on device); the training goes on without"]
    assert [file.name.split("-")[1] for file in files(states)] == ["000000000001"]


def test_save__a_disk_that_is_full_in_the_midst_of_a_file(states: States, said: Says) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))  # files end there, as on a full disk
    try:
        states.save("student", 1, state(1, large=torch.zeros(1_000_000)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    assert said == ["student: its state cannot be kept (File too large); the training goes on without"]
    assert files(states) == []


def test_save__what_no_file_may_hold_is_said(states: States, said: Says) -> None:
    states.save("student", 1, state(1, rate=np.float64(0.5), kept=(np.int64(3), [True, None])))
    states.save("student", 2, state(2, optimizer=Says()))
    states.save("student", 3, state(3, optimizer=object()))

    assert said == [
        "student: its state cannot be kept (a object is in it, which is no number, text or tensor); "
        "the training goes on without"
    ]
    found = states.load("student", FACTS)
    assert found is not None
    assert found["step"] == 2
    assert (found["optimizer"], type(found["optimizer"])) == ([], list)


def test_remove__leaves_nothing(states: States, tmp_path: Path) -> None:
    states.save("student", 1, state(1))
    states.of("member-0").save("student", 1, state(1))
    states.remove()

    assert list(tmp_path.iterdir()) == []


def test_moment__has_its_day_where_that_is_not_today() -> None:
    assert moment(0.0).startswith("19")
    assert len(moment(0.0)) == len("1970-01-01 00:00")


def aged(folder: Path, days: float) -> None:
    then = time.time() - days * 24 * 3600
    for path in [*folder.iterdir(), folder]:
        os.utime(path, (then, then))


def test_forget_old__what_nobody_has_gone_on_with_for_a_month(tmp_path: Path, said: Says) -> None:
    root = tmp_path / "mlflow.db.checkpoints"
    old, older, young = (States(root / name, said, 300.0) for name in ("old", "older", "young"))
    for one in (old, older, young):
        one.save("student", 3, state(3))
    (root / "link").symlink_to(young.folder)
    size = sum(file.stat().st_size for file in files(old)) / 1e6
    aged(old.folder, 31)
    aged(young.folder, 29)

    told = f"removed the states of one training, which nobody has gone on with for 30 days ({size:,.1f} MB)"
    assert forget_old(root) == f"{root}: {told}"
    assert sorted(path.name for path in root.iterdir()) == ["link", "older", "young"]
    assert forget_old(root) is None

    (root / "link").unlink()
    aged(older.folder, 100)
    aged(young.folder, 31)
    assert "of 2 trainings" in str(forget_old(root))
    assert not root.exists()
    assert forget_old(root) is None


def test_forget_old__a_folder_that_is_a_link_is_left_alone(tmp_path: Path, states: States) -> None:
    states.save("student", 3, state(3))
    aged(states.folder, 31)
    (tmp_path / "link").symlink_to(states.folder.parent)

    assert forget_old(tmp_path / "link") is None
    assert files(states) != []
