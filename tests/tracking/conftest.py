import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from kd_lab.tracking.run import Run
from kd_lab.tracking.store import Store


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with MLflow's tables: making them takes seconds, copying the file does not."""
    path = tmp_path_factory.mktemp("template") / "mlflow.db"
    Store.open(f"sqlite:///{path}", "template")
    return path


@pytest.fixture
def store(tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.chdir(tmp_path)
    shutil.copyfile(empty_database, tmp_path / "mlflow.db")
    return Store.open("sqlite:///mlflow.db", "digits")


@pytest.fixture
def start(store: Store) -> Callable[..., Run]:
    def start_run(**changes: object) -> Run:
        settings = {"role": "student", "name": "a run", "params": {}, "tags": {}, "config_yaml": "{}\n", "parent": None}
        return store.start_run(**(settings | changes))

    return start_run
