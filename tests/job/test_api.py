"""`kd_lab.distil`: in Python what the command does."""

import subprocess
import sys
from pathlib import Path

import pytest

import kd_lab
from kd_lab import names
from kd_lab.errors import UserError
from kd_lab.store.store import Store

SMALL = ["dataset=synthetic", "teacher=mlp", "student.recipe.steps=20", "teacher.recipe.steps=20"]
MEASURED = ["measure.latency_runs=2", "measure.figures=false"]


@pytest.mark.slow
def test_distil__is_the_job_of_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    found = kd_lab.distil(*SMALL, *MEASURED, "loss=dkd", quiet=True)  # type: ignore[operator]
    again = kd_lab.distil(*SMALL, *MEASURED, "loss=dkd", quiet=True)  # type: ignore[operator]

    assert capsys.readouterr().out == ""
    stored = Store.existing("sqlite:///mlflow.db").get(found.student.run_id)
    accuracy = names.TEST_ACCURACY_TOP1
    assert stored.metrics[accuracy] == found.student.measurement[accuracy]
    assert stored.tags[names.TAG_WEIGHTS_SHA256] == again.student.weights_sha256
    assert [n.reused for n in again.networks()] == [True, True, False]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed=0,1", "seed=0,1: is a sweep; expected a single value, or one call for each"),
        ("lss=kd", "lss=kd: no such key; did you mean loss?"),
        ("-m", "distil: runs one job"),
        ("callbacks.x=3", "callbacks.x=3: expected callbacks.x._target_="),
        ("callbacks.x._target_=torch.nn.ReLU", "expected a pytorch_lightning.Callback, got ReLU"),
    ],
)
def test_distil__mistakes(override: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        kd_lab.distil(override)  # type: ignore[operator]
    assert message in str(caught.value)


def test_package__imports_nothing_heavy_until_it_is_asked() -> None:
    code = "import sys, kd_lab; print({'torch', 'mlflow', 'hydra'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_package__has_no_other_names() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'distill'"):
        kd_lab.distill  # type: ignore[attr-defined]  # noqa: B018
