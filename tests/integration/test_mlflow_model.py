"""What MLflow shows of a finished run beside its numbers: the data that it read, and a model that answers as it did."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from mlflow import MlflowClient
from scipy.special import softmax

from kd_lab import names
from kd_lab.datasets.synthetic import Synthetic
from tests.integration.processes import until

Command = Callable[..., Any]


def the_runs(uri: str) -> dict[str, Any]:
    client = MlflowClient(uri)
    study = client.get_experiment_by_name("synthetic")
    return {run.data.tags[names.TAG_ROLE]: run for run in client.search_runs([study.experiment_id])}


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """All three runs of a job in the store, whichever way they came there."""

    def checked(uri: str) -> None:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)  # not set_tracking_uri, which the tests after this one would see
        _check(uri)

    return checked


def _check(uri: str) -> None:
    data = Synthetic().load()
    inputs = data.source.inputs[data.test].numpy()
    runs = the_runs(uri)
    assert set(runs) == {*names.ROLES}
    for role, run in runs.items():
        read = {
            one.tags[0].value: (one.dataset.name, one.dataset.digest, json.loads(one.dataset.profile)["samples"])
            for one in run.inputs.dataset_inputs
        }
        mark = run.data.tags[names.TAG_DATA_FINGERPRINT][:12]
        seen = ("transfer", 2400) if role == "student" else ("train", 400)
        assert read == {
            "training": ("synthetic", f"{mark}-{seen[0]}", seen[1]),
            "test": ("synthetic", f"{mark}-test", 2000),
        }
        model = mlflow.pyfunc.load_model(f"runs:/{run.info.run_id}/model")
        assert model.metadata.run_id == run.info.run_id
        assert model.metadata.signature.inputs.inputs[0].shape == (-1, 20)
        logits = model.predict(inputs)
        assert logits.dtype == np.float32
        answered = np.load(MlflowClient(uri).download_artifacts(run.info.run_id, names.ARTIFACT_PREDICTIONS))
        np.testing.assert_allclose(softmax(logits, axis=1), answered["probabilities"], atol=1e-6)
        (shown,) = json.loads(run.data.tags[names.TAG_MODELS])
        assert shown["artifact_path"] == "model"
        assert shown["flavors"] == model.metadata.flavors


ENSEMBLE = ["teacher=ensemble", "teacher/member=mlp", "teacher.size=2"]


@pytest.mark.slow
def test_run__its_data_and_its_model(kd_lab: Command, small: list[str], check: Callable[[str], None]) -> None:
    said = kd_lab("dataset=synthetic", *small, *ENSEMBLE)
    assert said.code == 0, said.err
    check(f"sqlite:///{Path('mlflow.db').absolute()}")


@pytest.mark.slow
def test_sync__data_and_model_of_a_job_without_its_server(
    kd_lab: Command, small: list[str], empty_store: Path, tmp_path: Path, check: Callable[[str], None]
) -> None:
    """It was kept, and is copied into a SQLite file, as often as one likes."""
    said = kd_lab("dataset=synthetic tracking.uri=http://127.0.0.1:9 tracking.offline=fallback", *small, *ENSEMBLE)
    assert said.code == 0, said.err
    server = f"sqlite:///{tmp_path}/server.db"
    Path(tmp_path / "server.db").write_bytes(empty_store.read_bytes())
    for _ in range(2):
        assert kd_lab(f"sync tracking.uri={server}").code == 0
        check(server)
    assert len(the_runs(server)) == 3


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bytes", "standardized bytes", "standardized"])
def test_run__its_model_takes_samples_as_the_file_has_them(
    kd_lab: Command, small: list[str], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """What the dataset does to them belongs to the model."""
    random = np.random.default_rng(0)
    y = np.arange(120) % 3
    X = (random.integers(0, 80, (120, 6)) + 80 * (np.arange(6) % 3 == y[:, None])).astype(np.uint8)
    X = X if "bytes" in kind else 1000.0 + X
    np.savez("my.npz", X=X[:90], y=y[:90], X_test=X[90:], y_test=y[90:])
    more = ["dataset.standardize=true"] if "standardized" in kind else []
    said = kd_lab("dataset=arrays dataset.path=my.npz teacher=mlp", *small, *more)
    assert said.code == 0, said.err
    uri = f"sqlite:///{Path('mlflow.db').absolute()}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    client = MlflowClient(uri)
    runs = client.search_runs([client.get_experiment_by_name("arrays").experiment_id])
    assert len(runs) == 3
    for run in runs:
        model = mlflow.pyfunc.load_model(f"runs:/{run.info.run_id}/model")
        assert model.metadata.signature.inputs.inputs[0].type == (np.uint8 if "bytes" in kind else np.float32)
        logits = model.predict(X[90:] if "bytes" in kind else X[90:].astype(np.float32))
        answered = np.load(client.download_artifacts(run.info.run_id, names.ARTIFACT_PREDICTIONS))
        np.testing.assert_allclose(softmax(logits, axis=1), answered["probabilities"], atol=1e-6)


@pytest.mark.slow
def test_serve__a_real_sample_over_loopback_as_the_run_answered(done: list[str], tmp_path: Path) -> None:
    """`mlflow models serve --env-manager local`, a process of its own; nothing in the artifact is a pickle."""
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    run = the_runs(uri)["student"]
    folder = Path(MlflowClient(uri).download_artifacts(run.info.run_id, "model"))
    assert {file.name for file in folder.iterdir()} == {
        "MLmodel",
        "input_example.json",
        "network.json",
        "weights.safetensors",
    }
    from mlflow.models import Model

    described = Model.load(str(folder))
    assert described.load_input_example(str(folder)).shape == (1, 20)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", f"runs:/{run.info.run_id}/model"]
    command += ["--env-manager", "local", "--host", "127.0.0.1", "--port", str(port)]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # it calls `uvicorn` by name
    named = os.environ | {"MLFLOW_TRACKING_URI": uri, "PATH": path}
    with open(tmp_path / "serve.log", "w") as log:
        server = subprocess.Popen(command, env=named, stdout=log, stderr=log, start_new_session=True)
    try:
        until(lambda: server.poll() is not None or _answers(port), 120)
        data = Synthetic().load()
        inputs = data.source.inputs[data.test][:5]
        said = json.loads(_asked(port, "/invocations", json.dumps({"inputs": inputs.tolist()}).encode()))
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)
    answered = np.load(MlflowClient(uri).download_artifacts(run.info.run_id, names.ARTIFACT_PREDICTIONS))
    np.testing.assert_allclose(softmax(said["predictions"], axis=1), answered["probabilities"][:5], atol=1e-6)


def _asked(port: int, path: str, body: bytes | None = None) -> bytes:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as response:
        return bytes(response.read())


def _answers(port: int) -> bool:
    try:
        return _asked(port, "/ping") is not None
    except OSError:
        return False
