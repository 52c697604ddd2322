"""The wheel works outside the clone: conf/ and notebooks/ ship in it."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import kd_lab

ROOT = Path(kd_lab.__file__).parents[1]


@pytest.mark.slow
def test_wheel__runs_elsewhere(tmp_path: Path) -> None:
    if not (ROOT / "pyproject.toml").exists():
        pytest.skip("needs the clone")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", tmp_path, ROOT], check=True, capture_output=True
    )
    wheel = next(tmp_path.glob("*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path / "site")
    shipped = {f"kd_lab/notebooks/{p.name}" for p in (ROOT / "notebooks").glob("*.ipynb")}
    assert shipped
    assert shipped <= set(names)
    assert {f"kd_lab/conf/{p.relative_to(ROOT / 'conf')}" for p in (ROOT / "conf").rglob("*.yaml")} <= set(names)
    tables = (ROOT / "kd_lab" / "analysis" / "tables").glob("*.csv")
    assert {f"kd_lab/analysis/tables/{p.name}" for p in tables} <= set(names)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    line = "dataset=synthetic teacher=mlp teacher.recipe.steps=20 student.recipe.steps=20"
    code = f"import kd_lab.cli.main as m, sys; print(m.__file__); sys.exit(m._main({line.split()!r}))"
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=elsewhere,
        env=os.environ | {"PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    assert str(tmp_path / "site") in found.stdout
    assert "See them: kd-lab ui" in found.stdout
