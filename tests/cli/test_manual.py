"""`--help`, of the whole and of each subcommand."""

import subprocess
import sys

import pytest

from kd_lab.cli.main import _main
from kd_lab.cli.manual import OF_COMMAND, WHOLE


def test_help__imports_nothing_heavy() -> None:
    code = "import sys; from kd_lab.cli.main import _main; _main(['--help']); print(sorted(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "kd-lab -m seed=0,1,2" in out
    for heavy in ("torch", "hydra", "mlflow", "pytorch_lightning", "rich", "pandas"):
        assert f"'{heavy}'" not in out


@pytest.mark.parametrize(
    "command", ["compare", "evaluate", "doctor", "sync", "ui", "list", "notebook", "import-recipe"]
)
@pytest.mark.parametrize("typed", ["{} --help", "{} -h", "help {}", "{} something -h"])
def test_help__of_a_subcommand(command: str, typed: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert _main(typed.format(command).split()) == 0
    out = capsys.readouterr().out
    assert out == OF_COMMAND[command]
    assert out.startswith(f"kd-lab {command} ")
    assert f"\nExample: kd-lab {command}" in out
    assert f"  kd-lab {command} " in WHOLE


def test_help__fits_into_80_columns() -> None:
    assert max(len(line) for text in [WHOLE, *OF_COMMAND.values()] for line in text.splitlines()) < 80
