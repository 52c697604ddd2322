"""TAB in a real bash: what is offered, and that nothing else comes into the prompt."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.store.conftest import START

PROGRAM = f"#!{sys.executable}\nfrom kd_lab.cli.main import main\nmain()\n"
TAB = """
eval "$(kd-lab -sc install=bash)"
COMP_LINE={line}; COMP_POINT=${{#COMP_LINE}}; COMP_WORDS=({line_words}); COMP_CWORD={word}
hydra_bash_completion
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to stand in, with `kd-lab` in the path."""
    program = tmp_path / "bin" / "kd-lab"
    program.parent.mkdir()
    program.write_text(PROGRAM)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def offered(line: str) -> set[str]:
    """What TAB offers at the end of a line; nothing is said beside it."""
    word = len(line.split()) - (not line.endswith(" "))
    script = TAB.format(line=shlex.quote(line), line_words=line, word=word)
    said = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert said.stderr == ""
    return set(said.stdout.split("\n")) - {""}


@pytest.mark.slow
def test_completion__commands_choices_and_settings(shell: Path) -> None:
    assert {"compare", "doctor", "evaluate", "list", "sync", "ui", "teacher=", "student/recipe="} < offered("kd-lab ")
    assert offered("kd-lab comp") == {"compare"}
    assert offered("kd-lab loss.tem") == {"loss.temperature="}
    assert {"loss.beta=", "loss.alpha="} < offered("kd-lab doctor loss=dkd loss.")
    assert offered("kd-lab list loss=dk") == {"loss=dkd"}
    assert offered("kd-lab evaluate run=1 trainer=g") == {"trainer=gpu"}


@pytest.mark.slow
def test_completion__studies_and_runs_of_the_store(shell: Path, empty_store: Path) -> None:
    from kd_lab.store.store import Store

    (shell / "mlflow.db").write_bytes(empty_store.read_bytes())
    ids = {}
    for study in ("first", "für", "$(touch hacked)"):
        with Store.open("sqlite:///mlflow.db", study).start_run(**START | {"role": "student"}) as run:
            ids[study] = run.run_id
    assert {"first", "für"} < offered("kd-lab compare ")
    assert offered("kd-lab compare fi") == {"first"}
    assert offered("kd-lab evaluate run=") == {f"run={one}" for one in ids.values()}
    begun = f"teacher.weights=run:{ids['first'][:12]}"
    assert offered(f"kd-lab {begun}") == {f"teacher.weights=run:{ids['first']}"}
    assert not (shell / "hacked").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "line", ["kd-lab loss=nothing lo", "kd-lab --nonsense x", "kd-lab compare nowhere", "kd-lab =3 s"]
)
def test_completion__a_mistake_is_not_told_in_the_prompt(shell: Path, line: str) -> None:
    assert all(one.startswith(line.rsplit(maxsplit=1)[-1]) for one in offered(line))


@pytest.mark.slow
def test_completion__query_says_nothing_but_words(shell: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for line in (None, "", "kd-lab 'un", "kd-lab loss.x.y=3 "):
        monkeypatch.delenv("COMP_LINE", raising=False)
        if line is not None:
            monkeypatch.setenv("COMP_LINE", line)
        said = subprocess.run(["kd-lab", "-sc", "query=bash"], capture_output=True, text=True, check=True)
        assert said.stderr == ""
        assert "rror" not in said.stdout
