"""Short overrides and what they imply; listing; help."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from kd_lab.cli.main import _main
from kd_lab.job.arguments import expand
from kd_lab.job.compose import conf_dir


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["loss.temperature=2"], ["++loss.temperature=2"]),
        (["loss.terms.kd.weight=2", "loss.hard_weight=0"], ["loss.terms.kd.weight=2", "loss.hard_weight=0"]),
        (["sweep.resources.mem_gb=8"], ["++sweep.resources.mem_gb=8"]),
        (["student._target_=a.B"], ["student._target_=a.B", "student=custom"]),
        (["student=mlp", "student._target_=a.B"], ["student=mlp", "student._target_=a.B"]),
        (["student.recipe.epochs=3"], ["student.recipe.epochs=3", "student.recipe.steps=null"]),
        (["teacher.recipe.steps=3"], ["teacher.recipe.steps=3", "teacher.recipe.epochs=null"]),
        (["student.recipe.epochs=3", "student.recipe.steps=4"], ["student.recipe.epochs=3", "student.recipe.steps=4"]),
        (["loss=[kd,soft_label]"], ["loss=[kd,soft_label]", "tuned/loss=none"]),
        (["-m", "seed=0,1"], ["-m", "seed=0,1"]),
    ],
)
def test_expand__completes_what_is_implied(given: list[str], expected: list[str]) -> None:
    assert expand(given) == expected


def test_list__names_every_choice_with_its_description(capsys: pytest.CaptureFixture[str]) -> None:
    files = [file for file in conf_dir().glob("*/*.yaml") if file.parent.name != "tuned"]
    assert len(files) > 20
    for file in files:
        assert _main(["list", file.parent.name]) == 0
        out = capsys.readouterr().out
        comment = next(line for line in file.read_text().splitlines() if not line.startswith("# @"))
        assert re.search(rf"^  {file.stem} +{re.escape(comment.removeprefix('# ').rstrip())}$", out, re.M)


def test_list__teacher_is_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert _main(["list", "teacher"]) == 0
    assert "ensemble" in capsys.readouterr().out


def test_list__unknown_group(capsys: pytest.CaptureFixture[str]) -> None:
    assert _main(["list", "losss"]) == 2
    assert "list losss: no such group; did you mean loss?" in capsys.readouterr().err


def test_ui__says_that_there_are_no_runs_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert _main(["ui"]) == 2
    assert "no runs here yet" in capsys.readouterr().err
    assert _main(["ui", "prot=1"]) == 2
    assert "prot=1: expected one of port=..., tracking.uri=..." in capsys.readouterr().err


def test_evaluate__needs_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert _main(["evaluate"]) == 2
    assert "expected run=ID" in capsys.readouterr().err


def test_help__imports_nothing_heavy() -> None:
    code = "import sys; from kd_lab.cli.main import _main; _main(['--help']); print(sorted(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "kd-lab -m seed=0,1,2" in out
    for heavy in ("torch", "hydra", "mlflow", "pytorch_lightning", "rich", "pandas"):
        assert f"'{heavy}'" not in out
