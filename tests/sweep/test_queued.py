"""What a job in a queue does when its time is up: end, and only then have submitit put it into the queue again."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import NoReturn

import pytest

from kd_lab.sweep.queued import Queued
from kd_lab.sweep.states import FAILED, FINISHED, KILLED, WAITING, JobFolder, JobState
from kd_lab.sweep.sweep import FOLDER

utils = pytest.importorskip("submitit.core.utils")
Member = Callable[[dict[str, object], int, int], None]


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    numbers = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR2)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> JobFolder:
    monkeypatch.setenv(FOLDER, str(tmp_path))
    made = JobFolder(tmp_path)
    made.write(JobState(0, "seed=0", "sqlite:///x.db", "study", "sweep"))
    return made


def member(monkeypatch: pytest.MonkeyPatch, folder: JobFolder, *signals: signal.Signals) -> None:
    """Stands for a job that is sent signals in the middle, and once more while it ends."""

    def run(_config: object, number: int, _at_once: int) -> None:
        try:
            for one in signals:
                signal.raise_signal(one)
        except KeyboardInterrupt:
            for one in signals:
                if one == signal.SIGUSR2:
                    signal.raise_signal(one)
            folder.change(number, state=KILLED, ended=1.0)
            raise
        folder.change(number, state=FINISHED, ended=1.0)

    monkeypatch.setattr("kd_lab.sweep.member.run_member", run)


def test_warned__ends_first_and_is_queued_again_then(folder: JobFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[JobState] = []

    def requeue(_number: int, _frame: FrameType | None) -> NoReturn:
        seen.append(folder.read(0))
        raise SystemExit(-1)

    signal.signal(signal.SIGUSR2, requeue)
    member(monkeypatch, folder, signal.SIGUSR2)
    with pytest.raises(SystemExit):
        Queued()({}, 0, 1)
    assert [(state.state, state.doing, state.ended) for state in seen] == [(WAITING, "in the queue again", None)]
    again = Queued().checkpoint({"seed": 0}, 3, 2)
    assert isinstance(again.function, Queued)
    assert (again.args, again.kwargs) == (({"seed": 0}, 3, 2), {})


def test_warned__more_often_than_allowed_is_a_failure(folder: JobFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_number: int, _frame: FrameType | None) -> NoReturn:
        raise utils.UncompletedJobError("timed-out too many times")

    signal.signal(signal.SIGUSR2, refuse)
    member(monkeypatch, folder, signal.SIGUSR2)
    with pytest.raises(utils.UncompletedJobError):
        Queued()({}, 0, 1)
    state = folder.read(0)
    assert (state.state, state.code) == (FAILED, 1)
    assert state.reason.startswith("its time limit ended it more often than sweep.resources.slurm_max_num_timeout ")


def test_cancelled__is_not_queued_again(folder: JobFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    signal.signal(signal.SIGUSR2, lambda number, _frame: asked.append(number))
    member(monkeypatch, folder, signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        Queued()({}, 0, 1)
    assert (folder.read(0).state, asked) == (KILLED, [])
