"""A SQLite store that was moved or copied to another folder, together with what lies beside it."""

import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient

from kd_lab.errors import UserError
from kd_lab.names import TAG_KEY
from kd_lab.store.journal import Header, Journal
from kd_lab.store.orphans import settle
from kd_lab.store.store import Store
from tests.store.conftest import START

KEYED = START | {"tags": {TAG_KEY: "k"}}


@pytest.fixture
def made(tmp_path: Path, empty_store: Path) -> Path:
    """A folder with a store and a finished run."""
    folder = tmp_path / "there"
    folder.mkdir()
    shutil.copy(empty_store, folder / "mlflow.db")
    with Store.open(f"sqlite:///{folder}/mlflow.db", "digits").start_run(**KEYED) as run:
        run.log_text("kept", "report.md")
    return folder


def opened(folder: Path) -> Store:
    return Store.open(f"sqlite:///{folder}/mlflow.db", "digits")


@pytest.mark.parametrize("how", ["moved", "copied"])
def test_moved__what_it_has_is_read_and_what_is_new_lies_beside_it(made: Path, tmp_path: Path, how: str) -> None:
    here = tmp_path / "here"
    made.rename(here) if how == "moved" else shutil.copytree(made, here)
    store = opened(here)
    found = store.find("k")
    assert found is not None
    assert found.download("report.md").read_text() == "kept"
    with store.reopen(found) as run:
        run.log_text("more", "more.txt")
    with store.start_run(**START) as new:
        new.log_text("new", "report.md")

    (artifacts,) = here.glob("mlartifacts/*")
    texts = {file.relative_to(artifacts).as_posix(): file.read_text() for file in artifacts.rglob("*.*")}
    assert texts[f"{run.run_id}/artifacts/more.txt"] == "more"
    assert texts[f"{new.run_id}/artifacts/report.md"] == "new"
    assert made.exists() == (how == "copied")
    assert [file.name for file in made.rglob("more.txt")] == []


def test_moved__without_its_artifacts__says_where_they_were(made: Path, tmp_path: Path) -> None:
    here = tmp_path / "here"
    here.mkdir()
    shutil.copy(made / "mlflow.db", here)
    with pytest.raises(UserError, match=rf"lie in {made}/mlartifacts on this machine, expected them below {here}"):
        opened(here).start_run(**START)


def test_moved__artifacts_that_are_a_link_elsewhere__not_read(made: Path, tmp_path: Path) -> None:
    here = tmp_path / "here"
    here.mkdir()
    shutil.copy(made / "mlflow.db", here)
    (here / "mlartifacts").symlink_to(made / "mlartifacts")
    with pytest.raises(UserError, match=rf"lie in {made}/mlartifacts on this machine, expected them below {here}"):
        opened(here).find("k").download("report.md")  # type: ignore[union-attr]


def test_moved__with_runs_that_it_was_not_told_of__has_them_at_the_next_start(made: Path, tmp_path: Path) -> None:
    there = opened(made)
    header = Header(there.uri, None, "a" * 32, "digits", "waits", 1, {}, {"role": "teacher"})
    journal = Journal(made / "kd_lab_rescue" / header.local_id)
    journal.begin(header)
    journal.close()
    (journal.folder / "log-1.jsonl").write_text('{"tags": {"a": "b"}, "end": ["FINISHED", 2]}\n')
    here = tmp_path / "here"
    made.rename(here)

    store = opened(here)
    assert settle(store) == [f"1 run that waited in {here}/kd_lab_rescue brought to {store.uri}"]
    runs = MlflowClient(store.uri).search_runs([store.experiment_id], "tags.a = 'b'")
    assert [run.info.status for run in runs] == ["FINISHED"]
    assert not (here / "kd_lab_rescue").exists()
