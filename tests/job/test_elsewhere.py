"""`kd-lab evaluate run=ID dataset=...`: a run's network on other data; the run stays as it is."""

from pathlib import Path

import numpy as np
import pytest

import kd_lab
from kd_lab import names
from kd_lab.cli.main import _main
from kd_lab.store.store import Store

URI = "sqlite:///mlflow.db"


def points(shift: int, classes: int = 3, features: int = 6) -> dict[str, np.ndarray]:
    y = np.arange(90) % classes
    of_class = 80 * (np.arange(features) % classes == y[:, None])
    X = (
        np.random.default_rng(0).integers(0, 80, (90, features)) + of_class + shift * (np.arange(features) % 3 == 0)
    ).astype(np.uint8)
    return {"X": X[:60], "y": y[:60], "X_test": X[60:], "y_test": y[60:]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Path:
    made = tmp_path_factory.mktemp("elsewhere")
    (made / "mlflow.db").write_bytes(empty_store.read_bytes())
    np.savez(made / "my.npz", **points(0))
    np.savez(made / "brighter.npz", **points(90))
    np.savez(made / "wide.npz", **points(0, features=7))
    np.savez(made / "two.npz", **points(0, classes=2))
    floats = points(0)
    np.savez(
        made / "floats.npz", **{name: one if "y" in name else one.astype(np.float32) for name, one in floats.items()}
    )
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(made)
        given = ["dataset=arrays", "dataset.path=my.npz", "dataset.standardize=true", "teacher=none", "loss=none"]
        given += ["student.recipe.steps=60", "student.recipe.batch_size=20", "measure.figures=false"]
        result = kd_lab.distil(*given, quiet=True)
    (made / "id").write_text(result.student.run_id)
    return made


@pytest.fixture
def run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(folder)
    return Path("id").read_text()


def test_evaluate__shifted__prepared_as_the_runs_own(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Standardized by its own mean, the brighter data would be those of the run, and nothing would be seen."""
    before = Store.existing(URI).get(run)
    model_said = kd_lab_answers(run, points(90))
    assert _main(["evaluate", f"run={run[:8]}", "dataset.path=brighter.npz"]) == 0
    said = capsys.readouterr().out
    assert f"There: {model_said:.2%} on 30 test samples (95% interval " in said
    assert model_said < before.metrics[names.TEST_ACCURACY_TOP1]
    assert f"Recorded: {before.metrics[names.TEST_ACCURACY_TOP1]:.2%} on 30 test samples" in said
    assert "Nothing was added to the run." in said
    after = Store.existing(URI).get(run)
    assert (after.metrics, after.tags, after.params) == (before.metrics, before.tags, before.params)


def kd_lab_answers(run: str, of: dict[str, np.ndarray]) -> float:
    from kd_lab.job.evaluate import rebuild

    network, description = rebuild(Store.existing(URI).get(run))
    found = description.model(network).predict(of["X_test"]).argmax(axis=1)
    return float((found == of["y_test"]).mean())


def test_evaluate__a_dataset_of_conf(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert _main(["evaluate", f"run={run}", "dataset=arrays", "dataset.path=my.npz", "dataset.standardize=true"]) == 0
    said = capsys.readouterr().out
    assert "These are the very data that the run was measured on: their fingerprint is the same." in said


def test_evaluate__its_own_files_cut_otherwise__said(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert _main(["evaluate", f"run={run}", "dataset.validation=10"]) == 0
    assert "These are the run's own files, cut otherwise" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("dataset.path=wide.npz", r"dataset arrays: its samples have the shape [7], but the network of run"),
        ("dataset.path=two.npz", r"dataset arrays: has 2 classes, but the network of run"),
        ("dataset.path=floats.npz", r"dataset arrays: its samples are float32, but the network of run"),
        ("dataset.path=none.npz", r"none.npz"),
        ("dataset.pth=my.npz", r"has no such setting; did you mean dataset.path?"),
        ("dataset=arays", r"dataset=arays: no such dataset; did you mean arrays?"),
        ("dataset=arrays", r"dataset.path: a value is missing; expected dataset.path=..."),
    ],
)
def test_evaluate__not_what_it_learned__one_sentence(
    run: str, typed: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _main(["evaluate", f"run={run}", typed]) == 2
    said = capsys.readouterr().err.strip()
    assert message in said
    assert len(said.splitlines()) == 1
