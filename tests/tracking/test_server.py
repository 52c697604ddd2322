"""The same on a real `mlflow server` of this machine."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from kd_lab.analysis.runs import runs
from kd_lab.errors import UserError
from kd_lab.names import TAG_KEY
from kd_lab.tracking.store import Store

pytestmark = pytest.mark.slow
START = {"role": "student", "name": "n", "params": {"seed": 1}, "config_yaml": "a: 1\n", "parent": None}


class Server:
    def __init__(self, folder):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self.folder = folder
        self.process = None

    def start(self):
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += [
            "--workers",
            "1",
            "--backend-store-uri",
            "sqlite:///server.db",
            "--artifacts-destination",
            "./served",
        ]
        environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        with (self.folder / "server.log").open("a") as log:
            self.process = subprocess.Popen(
                command, cwd=self.folder, stdout=log, stderr=log, start_new_session=True, env=environment
            )
        for _ in range(240):
            try:
                urllib.request.urlopen(f"{self.uri}/health", timeout=1).close()
                return
            except OSError:
                time.sleep(0.5)
        raise RuntimeError((self.folder / "server.log").read_text())

    def stop(self):
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait(20)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("server"))
    server.start()
    yield server
    server.stop()


def test_server__run_from_start_to_table(server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = Store.open(server.uri, "digits")
    (tmp_path / "w").write_bytes(b"\x00\x01")
    with store.start_run(**START, tags={TAG_KEY: "k"}) as run:
        run.log(0, {"train/loss_total": 1.0})
        run.log_measurement({"test/accuracy_top1": 0.5})
        run.log_file(tmp_path / "w", "model/weights.safetensors")
    found = store.find("k")
    assert found is not None
    assert found.config() == {"a": 1}
    assert found.download("model/weights.safetensors").read_bytes() == b"\x00\x01"
    assert store.get(run.run_id).metrics == {"train/loss_total": 1.0, "test/accuracy_top1": 0.5}
    with pytest.raises(UserError, match=r"has no artifact nothing\.txt"):
        found.download("nothing.txt")
    with pytest.raises(UserError, match="there is no such run"):
        store.get("0" * 32)
    parent = store.sweep_parent("s", "sweep")
    assert store.sweep_parent("s", "sweep") == parent
    store.finish_parent("s", "FINISHED")
    frame = runs("digits", server.uri)
    assert list(frame["run_id"]) == [run.run_id]
    assert list(frame["test/accuracy_top1"]) == [0.5]


def test_server__goes_away_and_comes_back__training_goes_on(server, tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    store = Store.open(server.uri, "digits")
    with store.start_run(**START, tags={TAG_KEY: "survivor"}) as run:
        server.stop()
        started = time.monotonic()
        run.log(1, {"a": 1.0})
        run.flush()
        run.log_text("kept", "report.md")
        assert time.monotonic() - started < 20
        assert "the run goes on" in caplog.text
        server.start()
    found = store.find("survivor")
    assert found is not None
    assert found.metrics == {"a": 1.0}
    assert found.download("report.md").read_text() == "kept"


def test_server__not_mlflow__user_error(server):
    with pytest.raises(UserError, match=r"^tracking\.uri=.*: MLflow cannot use this store"):
        Store.open(f"{server.uri}/nothing/here", "digits")
