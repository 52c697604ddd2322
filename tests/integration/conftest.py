"""Whole jobs, small enough for a test; in this process unless a test says otherwise."""

import contextlib
import io
import shlex
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.integration.processes import end_all, forks
from tests.integration.workers import forked_by

SMALL = [
    "student.recipe.steps=60",
    "teacher=mlp",
    "teacher.recipe.steps=30",
    "measure.latency_runs=5",
    "measure.latency_warmup=1",
    "measure.figures=false",
]


class Said(NamedTuple):
    """What a command left behind: exit code and the two streams."""

    code: int
    out: str
    err: str


def stand_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a command that somebody types there."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["kd-lab"])
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in ("PYTHONSAFEPATH", "KD_LAB_TRUST", "KD_LAB_LOGINS"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _nothing_goes_on() -> Iterator[None]:
    yield
    end_all()


@pytest.fixture
def kd_lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """`kd_lab("dataset=synthetic seed=1")`: the command line in an empty folder, its exit code and what it printed."""
    from kd_lab.cli.main import _main

    stand_in(tmp_path, monkeypatch)

    def command(line: str, *more: str) -> Said:
        words = [*shlex.split(line), *more]
        with forked_by(lambda: forks()[0].door):
            capfd.readouterr()
            code = _main(words)
            return Said(code, *capfd.readouterr())

    return command


@pytest.fixture
def small(tmp_path: Path, empty_store: Path) -> list[str]:
    """Overrides that make a job take a second, in a folder whose store is there."""
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    return list(SMALL)


class Finished(NamedTuple):
    """A folder with one finished job, teacher, baseline and student, and what it printed."""

    folder: Path
    out: str


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Finished:
    """`dataset=synthetic` and SMALL, done once for all, with its figures: to be looked at."""
    from kd_lab.cli.main import _main

    folder, out = tmp_path_factory.mktemp("finished"), io.StringIO()
    shutil.copy(empty_store, folder / "mlflow.db")
    with pytest.MonkeyPatch.context() as monkeypatch, contextlib.redirect_stdout(out):
        stand_in(folder, monkeypatch)
        assert _main(["dataset=synthetic", *SMALL, "measure.figures=null"]) == 0, out.getvalue()
    return Finished(folder, out.getvalue())


@pytest.fixture
def done(tmp_path: Path, finished: Finished) -> list[str]:
    """That job in the test's own folder, to be gone on from; the overrides that it was made with."""
    shutil.copytree(finished.folder, tmp_path, dirs_exist_ok=True)
    with contextlib.closing(sqlite3.connect(tmp_path / "mlflow.db")) as store, store:
        for table, column in (("runs", "artifact_uri"), ("experiments", "artifact_location")):
            moved = f"UPDATE {table} SET {column} = replace({column}, ?, ?)"
            store.execute(moved, (str(finished.folder), str(tmp_path)))
    return list(SMALL)
