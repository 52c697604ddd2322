"""Whole jobs, small enough for a test; in this process unless a test says otherwise."""

import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

SMALL = [
    "student.recipe.steps=60",
    "teacher=mlp",
    "teacher.recipe.steps=30",
    "measure.latency_runs=5",
    "measure.latency_warmup=1",
]


class Said(NamedTuple):
    """What a command left behind: exit code and the two streams."""

    code: int
    out: str
    err: str


@pytest.fixture
def kd_lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """`kd_lab("dataset=synthetic seed=1")`: the command line in an empty folder, its exit code and what it printed."""
    from kd_lab.cli.main import _main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["kd-lab"])
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in ("PYTHONSAFEPATH", "KD_LAB_TRUST", "KD_LAB_LOGINS"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)

    def command(line: str, *more: str) -> Said:
        capfd.readouterr()
        code = _main([*shlex.split(line), *more])
        return Said(code, *capfd.readouterr())

    return command


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite store with MLflow's tables and no study: making one takes seconds, copying it none."""
    from kd_lab.store.store import Store

    file = tmp_path_factory.mktemp("store") / "mlflow.db"
    Store.open(f"sqlite:///{file}", "unused")
    return file


@pytest.fixture
def small(tmp_path: Path, empty_store: Path) -> list[str]:
    """Overrides that make a job take a second, in a folder whose store is there."""
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    return list(SMALL)
