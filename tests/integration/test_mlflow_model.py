"""What MLflow shows of a finished run beside its numbers: the data that it read, and a model that answers as it did."""

import json
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
