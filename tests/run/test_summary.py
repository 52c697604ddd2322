import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient

from kd_lab import names
from kd_lab.run.summary import MAX_TOLD, close_sweep
from kd_lab.tracking.store import Store


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with MLflow's tables: making them takes seconds, copying the file does not."""
    path = tmp_path_factory.mktemp("template") / "mlflow.db"
    Store.open(f"sqlite:///{path}", "unused")
    return path


@pytest.fixture
def store(tmp_path: Path, template: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.chdir(tmp_path)
    shutil.copyfile(template, tmp_path / "mlflow.db")
    return Store.open("sqlite:///mlflow.db", "digits")


def student(
    store: Store, seed: int, accuracy: float, *, sweep: str = "s", status: str = "FINISHED", **more: object
) -> None:
    loss = str(more.get("loss", "kd"))
    node = {"weight": 1.0, "temperature": more.get("temperature", 2.0)}
    run = store.start_run(
        role="student",
        name=f"student {seed}",
        params={"seed": seed, "network": "mlp 32", "loss_name": loss, "loss": {"terms": {loss: node}}},
        tags={names.TAG_SWEEP: sweep},
        config_yaml="{}\n",
        parent=None,
    )
    run.log_measurement({names.TEST_ACCURACY_TOP1: accuracy, names.COST_TRAIN_STEPS: more.get("steps", 100)})
    run.finish(status)


def parent(sweep: str = "s") -> tuple[str, str, str]:
    """Status, description and report of the sweep's run."""
    client = MlflowClient(f"sqlite:///{Path('mlflow.db').absolute()}")
    (study,) = (one for one in client.search_experiments() if one.name == "digits")
    (run,) = client.search_runs([study.experiment_id], f"tags.role = 'sweep' and tags.`kd_lab.sweep` = '{sweep}'")
    has_report = names.ARTIFACT_REPORT in [one.path for one in client.list_artifacts(run.info.run_id)]
    report = Path(client.download_artifacts(run.info.run_id, names.ARTIFACT_REPORT)).read_text() if has_report else ""
    return run.info.status, run.data.tags.get(names.TAG_NOTE, ""), report


def test_close_sweep__prints_and_keeps_the_comparison(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in range(3):
        student(store, seed, 0.9 + 0.01 * seed)
        student(store, seed, 0.1, sweep="another")
    close_sweep(store.uri, "digits", "s", "FINISHED")
    out = capsys.readouterr().out
    assert "study digits: accuracy on the test part" in out
    assert "91.00 ± 1.00" in out
    status, note, report = parent()
    assert status == "FINISHED"
    assert note == report
    assert "| kd | 3 | 91.00 ± 1.00 |" in report


def test_close_sweep__whatever_was_swept_over__one_table(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    student(store, 0, 0.9)
    student(store, 0, 0.8, loss="ab", steps=150)
    student(store, 1, 0.7, status="FAILED")
    close_sweep(store.uri, "digits", "s", "FAILED")
    out = capsys.readouterr().out
    assert "- Mixed: budget (100 steps: 1; 150 steps: 1 students)" in out
    assert "- Left out: 1 failed." in out
    assert parent()[0] == "FAILED"


def test_close_sweep__many_arms__described_by_the_best(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(MAX_TOLD + 3):
        student(store, 0, 0.5 + 0.01 * number, temperature=float(number))
    close_sweep(store.uri, "digits", "s", "FINISHED")
    _, note, report = parent()
    assert note.count("| kd T=") == MAX_TOLD
    assert "And 3 more arms." in note
    assert report.count("| kd T=") == MAX_TOLD + 3


def test_close_sweep__no_student_finished__closed_without_a_table(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    student(store, 0, 0.9, status="FAILED")
    close_sweep(store.uri, "digits", "s", "FAILED")
    assert capsys.readouterr().out == ""
    assert parent() == ("FAILED", "", "")


def test_close_sweep__nothing_begun__nothing_made(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    close_sweep(store.uri, "digits", "s", "FAILED")
    student(store, 0, 0.9, sweep="another")
    close_sweep(store.uri, "digits", "s", "FAILED")
    assert capsys.readouterr().out == ""
    with pytest.raises(ValueError, match="not enough values"):
        parent()
