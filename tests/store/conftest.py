import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from kd_lab.outside.nodes import TRUST
from kd_lab.store import client, writer
from kd_lab.store.run import Run
from kd_lab.store.store import Store
from tests.store.servers import Proxy, Server, free_port

START = {"role": "student", "name": "a run", "params": {}, "tags": {}, "config_yaml": "a: 1\n", "parent": None}


def in_a_child(do: Callable[[], object]) -> None:
    """Do it in a process that ends right after, without a word: all that it had locked is free."""
    child = os.fork()
    if child == 0:
        try:
            do()
        finally:
            os._exit(0)
    os.waitpid(child, 0)


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Less patience, for a test; nothing that an earlier test learned about a server, and a home of its own."""
    monkeypatch.setattr(writer, "PATIENCE_S", 2.0)
    monkeypatch.setattr(writer, "RETRY_AT_THE_END_S", 0.1)
    monkeypatch.setattr(client, "WAIT_S", 5.0)
    monkeypatch.setattr(client, "_silent", {})
    monkeypatch.setattr(client, "_warned", set())
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
    monkeypatch.setenv(TRUST, "")


@pytest.fixture
def store(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.chdir(tmp_path)
    shutil.copyfile(empty_store, tmp_path / "mlflow.db")
    return Store.open("sqlite:///mlflow.db", "digits")


@pytest.fixture
def away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """The store of a server that is not there."""
    monkeypatch.chdir(tmp_path)
    return Store.open(f"http://127.0.0.1:{free_port()}", "digits", although_away=True)


@pytest.fixture
def start(store: Store) -> Iterator[Callable[..., Run]]:
    started = []

    def start_run(**changes: object) -> Run:
        run = store.start_run(**(START | changes))
        started.append(run)
        return run

    yield start_run
    for run in started:
        with suppress(Exception):
            run.finish()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    server.start()
    proxy = Proxy(server)
    yield proxy
    proxy.stop()
