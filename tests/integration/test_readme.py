"""The README's own loss, typed in as it stands there, passes the contract suite and trains."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import kd_lab

ROOT = Path(kd_lab.__file__).parents[1]
FILES = ("kd_lab/losses/my_loss.py", "conf/loss/my_loss.yaml", "tests/losses/test_my_loss.py")
JOB = "loss=my_loss dataset=synthetic teacher=mlp teacher.recipe.steps=20 student.recipe.steps=20 baseline=false"
JOB += " measure.figures=false"


def python(*arguments: str, root: Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_readme__its_loss_is_added_in_three_files(tmp_path: Path) -> None:
    if not (ROOT / "README.md").exists():
        pytest.skip("needs the clone")
    clone = tmp_path / "clone"
    for folder in ("kd_lab", "conf", "tests"):
        shutil.copytree(ROOT / folder, clone / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", clone)
    told = (ROOT / "README.md").read_text(encoding="utf-8")
    section = told.split("## Add a loss in three files")[1].split("\n## ")[0]
    blocks = re.findall(r"```(?:python|yaml)\n(.*?)```", section, flags=re.DOTALL)
    for file, text in zip(FILES, blocks, strict=True):
        (clone / file).write_text(text.removeprefix(f"# {file}\n"), encoding="utf-8")

    tested = python(
        "-m",
        "pytest",
        "-q",
        "tests/contracts",
        "tests/losses",
        "-k",
        "my_loss",
        "-m",
        "not slow",
        root=clone,
        cwd=clone,
    )
    linted = python("-m", "ruff", "check", *FILES[::2], root=clone, cwd=clone)
    shaped = python("-m", "ruff", "format", "--check", *FILES[::2], root=clone, cwd=clone)
    job = ["-c", f"import kd_lab.cli.main as m, sys; sys.exit(m._main({JOB.split()!r}))"]
    trained = python(*job, root=clone, cwd=tmp_path)

    assert tested.returncode == 0, tested.stdout
    assert " passed" in tested.stdout
    assert linted.returncode == 0, linted.stdout
    assert shaped.returncode == 0, shaped.stdout
    assert trained.returncode == 0, trained.stderr
    assert "my_loss" in trained.stdout
