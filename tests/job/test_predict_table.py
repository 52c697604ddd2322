"""`kd-lab predict` on tables: rows as a file has them, names of classes in the answer."""

import csv
import io
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest

import kd_lab
from kd_lab import names
from kd_lab.errors import UserError
from kd_lab.job.predict import predict
from kd_lab.store.store import Store

URI = "sqlite:///mlflow.db"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Path:
    """With a finished job on a table separated by semicolons, a file of rows without their class, and the run's id."""
    made = tmp_path_factory.mktemp("predict_table")
    (made / "mlflow.db").write_bytes(empty_store.read_bytes())
    random, place = np.random.default_rng(0), np.arange(90) % 3
    table = pd.DataFrame(
        {
            "size": place + random.normal(0, 0.3, 90),
            "kind": np.array(["a", "b", "c"])[(place + (random.random(90) < 0.2)) % 3],
            "class": np.array(["cat", "dog", "owl"])[place],
        }
    )
    table.loc[4, "size"] = np.nan
    table[:60].to_csv(made / "my.csv", index=False, sep=";")
    table[60:].to_csv(made / "test.csv", index=False, sep=";")
    table[60:][["kind", "size"]].to_csv(made / "new.csv", index=False, sep=";")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(made)
        steps = ["student.recipe.steps=40", "student.recipe.batch_size=20", "teacher=none", "loss=none"]
        files = ["dataset.path=my.csv", "dataset.test_path=test.csv", "dataset.target=class", 'dataset.separator=";"']
        result = kd_lab.distil("dataset=table", *files, *steps, "measure.figures=false", quiet=True)
    (made / "id").write_text(result.student.run_id)
    return made


@pytest.fixture
def run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(folder)
    return Path("id").read_text()


def test_predict__reads_raw_rows_in_any_order_of_columns_and_names_the_class(
    run: str, capsys: pytest.CaptureFixture[str]
) -> None:
    predict(run, URI, "new.csv")
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    with Store.existing(URI).get(run).opened(names.ARTIFACT_PREDICTIONS) as file:
        answered = dict(np.load(file))
    given = np.array([[float(row[f"probability_{k}"]) for k in range(3)] for row in rows])
    np.testing.assert_allclose(given, answered["probabilities"], atol=1e-5)
    assert [row["class"] for row in rows] == [["cat", "dog", "owl"][k] for k in answered["predicted"]]


def test_predict__a_file_that_does_not_fit(run: str) -> None:
    Path("other.csv").write_text("kind;length\na;1\n")
    with pytest.raises(UserError, match=r"^other\.csv: no column size; expected one of kind, length$"):
        predict(run, URI, "other.csv")
    Path("comma.csv").write_text("kind,size\na,1\n")
    with pytest.raises(UserError, match=r"^comma\.csv: its first line is one value when cut at a semicolon"):
        predict(run, URI, "comma.csv")
    np.save("codes.npy", np.zeros((2, 3)))
    with pytest.raises(
        UserError, match=r"^codes\.npy: the network cannot take samples of shape \[3\]; expected \[2\]$"
    ):
        predict(run, URI, "codes.npy")


def test_mlflow_model__takes_rows_of_numbers_and_codes(run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", URI)
    model = mlflow.pyfunc.load_model(f"runs:/{run}/model")
    logits = model.predict(np.array([[0.0, 0], [2.0, 2], [np.nan, -1]]))
    assert logits.argmax(1)[:2].tolist() == [0, 2]
    assert np.isfinite(logits).all()
