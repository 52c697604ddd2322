"""`kd-lab predict` on texts, pictures, cells and series as their files have them: what the run answered to its test."""

import csv
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax

import kd_lab
from kd_lab import names
from kd_lab.cli.main import _main
from kd_lab.errors import UserError
from kd_lab.job.predict import predict
from kd_lab.store.store import Store
from tests.datasets import test_anndata, test_text
from tests.datasets.picture_files import in_parts
from tests.datasets.series_files import ts, write

URI = "sqlite:///mlflow.db"
ALONE = ["teacher=none", "loss=none", "student.recipe.steps=4", "student.recipe.batch_size=8", "trainer=cpu"]
QUICK = ["measure.latency_runs=1", "measure.latency_warmup=1", "measure.throughput_batch=2", "measure.figures=false"]


def trained(*chosen: str) -> str:
    return kd_lab.distil(*chosen, *ALONE, *QUICK, quiet=True).student.run_id


def answered(run: str) -> dict[str, Any]:
    with Store.existing(URI).get(run).opened(names.ARTIFACT_PREDICTIONS) as file:
        return dict(np.load(file))


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def check(rows: list[dict[str, str]], run: str, classes: list[str], order: Any = slice(None)) -> None:
    """The rows are what the run answered to its test samples, in this order."""
    told = answered(run)
    given = np.array([[float(row[f"probability_{k}"]) for k in range(len(classes))] for row in rows])
    np.testing.assert_allclose(given, told["probabilities"][order], atol=1e-5)
    assert [row["class"] for row in rows] == [classes[k] for k in told["predicted"][order]]
    assert [int(row["index"]) for row in rows] == list(range(len(rows)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Path:
    """With a finished job on texts, and its id in a file."""
    made = tmp_path_factory.mktemp("predict_texts")
    (made / "mlflow.db").write_bytes(empty_store.read_bytes())
    test_text.FRAME.to_csv(made / "my.csv", index=False)
    new = test_text.FRAME.assign(text=[f"{text} zorp" for text in test_text.FRAME["text"]])
    new.to_csv(made / "test.csv", index=False)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(made)
        monkeypatch.setenv("HOME", str(made / "home"))
        files = ["dataset.path=my.csv", "dataset.test_path=test.csv"]
        (made / "id").write_text(trained("dataset=text", *files, "student=text_cnn", "measure.predict_batch=8"))
    (made / "my.csv").unlink()  # what is needed of it lies in the run
    return made


@pytest.fixture
def run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(folder)
    return Path("id").read_text()


def test_texts__as_the_run_answered(
    run: str, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert _main(["predict", f"run={run[:8]}", "test.csv"]) == 0
    check(rows_of(capsys.readouterr().out), run, ["neg", "pos"])
    assert caplog.messages == ["test.csv: 20 words are none that the network learned, and count as unknown."]


def test_texts__into_a_file_that_is_not_there_yet(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert _main(["predict", f"run={run}", "test.csv", "out=said.csv"]) == 0
    assert capsys.readouterr().out == ""
    check(rows_of(Path("said.csv").read_text()), run, ["neg", "pos"])
    assert _main(["predict", f"run={run}", "test.csv", "out=said.csv"]) == 2
    assert "out=said.csv: is there already; choose another name" in capsys.readouterr().err


def test_texts__nothing_is_written_when_a_late_row_is_wrong(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("late.csv").write_text("text\n" + 12 * "good film\n" + '""\n')
    for more in ([], ["out=late_said.csv"]):
        assert _main(["predict", f"run={run}", "late.csv", *more]) == 2
        told = capsys.readouterr()
        assert (told.out, told.err) == (
            "",
            "kd-lab: late.csv: row 12 has no text; fill it in, or take the row away.\n",
        )
    assert not [*Path.cwd().glob("*late_said*"), *Path.cwd().glob(".kd_lab*")]


def test_texts__mlflow_model_takes_them(run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "MLFLOW_TRACKING_URI", f"sqlite:///{Path.cwd() / 'mlflow.db'}"
    )  # MLflow keeps what it opened by name
    model = mlflow.pyfunc.load_model(f"runs:/{run}/model")
    frame = pd.read_csv("test.csv")
    expected = answered(run)["probabilities"]
    np.testing.assert_allclose(softmax(model.predict(frame), axis=1), expected, atol=1e-6)
    listed = model.predict({"text": frame["text"].tolist()})  # MLflow makes one row of it
    np.testing.assert_allclose(softmax(listed, axis=1), expected, atol=1e-6)
    (column,) = model.metadata.signature.inputs.inputs
    assert (column.name, column.type.name) == ("text", "string")


def test_texts__of_another_vocabulary__teach_nothing_and_measure_nothing(
    run: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As many words, in texts as long and of the same classes: the shapes are the same."""
    monkeypatch.setenv("HOME", str(Path.cwd() / "home"))
    for file, more in (("other.csv", ""), ("other_test.csv", " zorp")):
        frame = test_text.FRAME.assign(
            text=[f"{text.replace('film', 'book')}{more}" for text in test_text.FRAME["text"]]
        )
        frame.to_csv(file, index=False)
    files = ["dataset.path=other.csv", "dataset.test_path=other_test.csv"]
    said = r"that network was trained with other tokens than this dataset has; expected"
    with pytest.raises(UserError, match=rf"^teacher\.weights=run:{run}: {said} a teacher of the same training texts"):
        kd_lab.distil("dataset=text", *files, f"teacher.weights=run:{run}", "student=text_cnn", quiet=True)
    assert _main(["evaluate", f"run={run}", *files]) == 2
    assert re.search(rf"dataset text: {said} the same, or ask .*: kd-lab predict run=", capsys.readouterr().err)


def test_texts__of_a_run_that_kept_no_reader(run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from kd_lab.job import predict as module
    from kd_lab.job.pyfunc import Model

    monkeypatch.setattr(
        module.Description, "model", lambda self, network: Model(network, self.input_dtype), raising=True
    )
    with pytest.raises(
        UserError, match=r"its network takes input_ids, attention_mask, and what makes these of samples"
    ):
        predict(run, URI, "test.csv")


def of_pictures(tmp_path: Path) -> tuple[str, list[str], list[str]]:
    in_parts(tmp_path / "x")
    run = trained("dataset=image_folder", "dataset.path=x", "dataset.size=16", "student=mlp")
    return run, ["x/val"], ["ant", "bee", "cat"]


def of_cells(_: Path) -> tuple[str, list[str], list[str]]:
    anndata = pytest.importorskip("anndata")
    test_anndata.save()
    chosen = ["dataset.label=cell_type", "dataset.normalise=log1p"]
    run = trained("dataset=anndata", "dataset.path=my.h5ad", *chosen, "student=mlp")
    index = answered(run)["index"]
    cells = anndata.read_h5ad("my.h5ad")[index].copy()
    cells.obs = cells.obs.set_axis(pd.Index([f"c{n}" for n in index], dtype=object))
    cells.obs = cells.obs[["n_counts"]]
    cells.var = cells.var.set_axis(pd.Index([f"g{n}" for n in range(6)], dtype=object))
    cells.raw = None
    cells.write_h5ad("new.h5ad")
    return run, ["new.h5ad"], ["B cell", "T cell"]


def of_series(tmp_path: Path) -> tuple[str, list[str], list[str]]:
    raw = np.random.default_rng(0).normal(100, 40, (20, 8)).round(2)
    rows = [(",".join(map(str, series)), "ab"[place % 2]) for place, series in enumerate(raw)]
    write(tmp_path / "series", ts(rows[:12]), ts(rows[12:]))
    np.save("raw.npy", raw[12:, None])
    run = trained("dataset=series", "dataset.path=series", "student=mlp")
    return run, ["series/Made_TEST.ts", "raw.npy"], ["a", "b"]


@pytest.mark.slow
@pytest.mark.parametrize("made", [of_pictures, of_cells, of_series])
def test_files__as_the_run_answered(
    made: Callable[[Path], tuple[str, list[str], list[str]]],
    tmp_path: Path,
    empty_store: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mlflow.db").write_bytes(empty_store.read_bytes())
    run, files, classes = made(tmp_path)
    for file in files:
        capsys.readouterr()
        predict(run, URI, file)
        check(rows_of(capsys.readouterr().out), run, classes)


def test_arrays__rows_of_a_large_file_are_read_in_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from kd_lab.datasets.common.files import batches_of
    from kd_lab.outside import archives

    monkeypatch.chdir(tmp_path)
    X = np.random.default_rng(0).normal(size=(50, 3, 4))
    np.save("my.npy", X)
    np.savez("my.npz", y=np.zeros(50), X=X)
    np.savez_compressed("small.npz", X=X)
    free = 8 * 7 * 3 * 4
    monkeypatch.setattr(archives, "check_memory", lambda size, _: None if size <= free else pytest.fail("too much"))
    for file in ("my.npy", "my.npz", "small.npz"):
        batches = [*batches_of(file, file, "X", 7)]
        assert [len(one) for one in batches] == [7] * 7 + [1]
        np.testing.assert_array_equal(np.concatenate(batches), X)
    content = Path("my.npy").read_bytes()
    Path("my.npy").write_bytes(content[:-9])
    with pytest.raises(UserError, match=r"^my\.npy: the file is truncated or damaged \(its header declares"):
        [*batches_of("my.npy", "my.npy", "X", 7)]
    np.save("none.npy", X[:0])
    with pytest.raises(UserError, match=r"^none\.npy: X has no row, expected"):
        [*batches_of("none.npy", "none.npy", "X", 7)]
