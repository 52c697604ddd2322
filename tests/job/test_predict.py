"""`kd-lab predict`: what a finished run says of a file of samples, as CSV."""

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kd_lab
from kd_lab import names
from kd_lab.cli.main import _main
from kd_lab.errors import UserError
from kd_lab.job.predict import predict
from kd_lab.store.store import Store
from tests.datasets.series_files import ts, write

URI = "sqlite:///mlflow.db"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Path:
    """With a finished job on bytes, and its id in a file."""
    made = tmp_path_factory.mktemp("predict")
    (made / "mlflow.db").write_bytes(empty_store.read_bytes())
    y = np.arange(90) % 3
    X = (np.random.default_rng(0).integers(0, 80, (90, 6)) + 80 * (np.arange(6) % 3 == y[:, None])).astype(np.uint8)
    np.savez(made / "my.npz", X=X[:60], y=y[:60], X_test=X[60:], y_test=y[60:])
    np.save(made / "new.npy", X[60:])
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(made)
        steps = ["student.recipe.steps=30", "student.recipe.batch_size=20", "dataset.standardize=true"]
        steps += ["teacher=none", "loss=none", "measure.figures=false"]
        result = kd_lab.distil("dataset=arrays", "dataset.path=my.npz", *steps, quiet=True)
    (made / "id").write_text(result.student.run_id)
    return made


@pytest.fixture
def run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(folder)
    return Path("id").read_text()


def test_predict__as_the_run_answered(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    predict(run, URI, "new.npy")
    rows: list[dict[str, Any]] = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    with Store.existing(URI).get(run).opened(names.ARTIFACT_PREDICTIONS) as file:
        answered = dict(np.load(file))
    assert [int(row["index"]) for row in rows] == list(range(30))
    assert [int(row["predicted"]) for row in rows] == answered["predicted"].tolist()
    given = np.array([[float(row[f"probability_{k}"]) for k in range(3)] for row in rows])
    np.testing.assert_allclose(given, answered["probabilities"], atol=1e-5)


def test_command__the_first_characters_of_the_id(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert _main(["predict", f"run={run[:8]}", "new.npy"]) == 0
    assert capsys.readouterr().out.startswith(
        "index,predicted,confidence,probability_0,probability_1,probability_2\n0,"
    )


@pytest.mark.parametrize("typed", [["new.npy"], ["run=1"], ["run=1", "a.npy", "b.npy"]])
def test_command__not_one_run_and_one_file(typed: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert _main(["predict", *typed]) == 2
    assert "expected a run and one file: kd-lab predict run=ID FILE.npz" in capsys.readouterr().err


def test_predict__other_samples_than_it_learned_from(run: str) -> None:
    np.save("floats.npy", np.zeros((2, 6)))
    with pytest.raises(UserError, match=r"^floats.npy: X is float64, but the network learned from uint8; expected"):
        predict(run, URI, "floats.npy")
    np.save("wide.npy", np.zeros((2, 7), np.uint8))
    with pytest.raises(UserError, match=r"^wide.npy: the network cannot take samples of shape \[7\]; expected \[6\]$"):
        predict(run, URI, "wide.npy")
    np.savez("other.npz", inputs=np.zeros((2, 6), np.uint8))
    with pytest.raises(UserError, match=r"^other.npz: no array named X, it holds inputs; rename one to X\.$"):
        predict(run, URI, "other.npz")


def test_predict__raw_series_are_normalised_as_those_it_learned_from(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    raw = np.random.default_rng(0).normal(100, 40, (30, 1, 8)).round(2)
    rows = [(",".join(map(str, series[0])), "ab"[place % 2]) for place, series in enumerate(raw)]
    write(folder / "series", ts(rows[:20]), ts(rows[20:]))
    np.save("raw.npy", raw[20:])
    chosen = ["dataset=series", "dataset.path=series", "teacher=none", "loss=none"]
    recipe = ["student.recipe.steps=3", "student.recipe.batch_size=5", "measure.figures=false"]
    run_id = kd_lab.distil(*chosen, *recipe, quiet=True).student.run_id
    predict(run_id, URI, "raw.npy")
    found = [row["probability_0"] for row in csv.DictReader(io.StringIO(capsys.readouterr().out))]
    with Store.existing(URI).get(run_id).opened(names.ARTIFACT_PREDICTIONS) as file:
        answered = np.load(file)["probabilities"][:, 0]
    np.testing.assert_allclose(np.array(found, float), answered, atol=1e-5)
