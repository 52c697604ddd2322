"""`kd-lab notebook`: a folder of the user's, the study and the store that JupyterLab's kernels are told."""

import shutil
from pathlib import Path

import pytest

from kd_lab.cli import notebook
from kd_lab.cli.main import _main

SHIPPED = Path(__file__).parents[2] / "notebooks"


@pytest.fixture
def folder(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_put__all_of_them_once__what_was_changed_stays(folder: Path) -> None:
    made = notebook.put(folder / "mine")
    names = [file.name for file in sorted(SHIPPED.glob("*.ipynb"))]
    assert [file.name for file in sorted(made.iterdir())] == names
    (made / names[0]).write_text("{}")
    (made / names[1]).unlink()
    notebook.put(made)
    assert (made / names[0]).read_text() == "{}"
    assert (made / names[1]).read_bytes() == (SHIPPED / names[1]).read_bytes()


def test_notebook__the_server_is_told_study_and_store(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(notebook, "find_spec", lambda _name: object())
    monkeypatch.setattr(notebook, "serve", lambda *given: asked.append(given) or 0)
    assert _main(["notebook", "my study"]) == 0
    ((command, where, environment),) = asked
    assert command[1:4] == ["-m", "jupyterlab", str(folder / notebook.FOLDER)]
    assert where == str(folder / notebook.FOLDER)
    assert environment["KD_LAB_STUDY"] == "my study"
    assert environment["KD_LAB_TRACKING_URI"] == f"sqlite:///{folder}/mlflow.db"


def test_notebook__without_jupyterlab(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(notebook, "find_spec", lambda _name: None)
    assert _main(["notebook"]) == 2
    assert capsys.readouterr().err == (
        "kd-lab: notebook: expected JupyterLab, which is not installed: pip install 'kd-lab[notebooks]'\n"
    )
    assert sorted(one.name for one in folder.iterdir()) == ["mlflow.db"]


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (["a", "b"], "notebook a b: expected one study; a notebook reads one"),
        (["uri=x"], "uri=x: expected one of tracking.uri=..."),
        (["tracking.uri=sqlite:///other.db"], "tracking.uri=sqlite:///other.db: no runs here yet; expected the file"),
    ],
)
def test_notebook__wrong_input(folder: Path, typed: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert _main(["notebook", *typed]) == 2
    assert told in capsys.readouterr().err
