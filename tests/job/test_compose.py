"""Short overrides and what they imply; what a subcommand refuses."""

from pathlib import Path

import pytest

from kd_lab.cli.main import _main
from kd_lab.job.arguments import expand


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["loss.temperature=2"], ["++loss.temperature=2"]),
        (["loss.terms.kd.weight=2", "loss.hard_weight=0"], ["loss.terms.kd.weight=2", "loss.hard_weight=0"]),
        (["sweep.resources.mem_gb=8"], ["++sweep.resources.mem_gb=8"]),
        (["student._target_=a.B"], ["student._target_=a.B", "student=custom"]),
        (["student=mlp", "student._target_=a.B"], ["student=mlp", "student._target_=a.B"]),
        (["student._target_=a.B", "student.w=1"], ["student._target_=a.B", "++student.w=1", "student=custom"]),
        (
            ["dataset=custom", "dataset._target_=a.B", "dataset.n=1"],
            ["dataset=custom", "dataset._target_=a.B", "++dataset.n=1"],
        ),
        (
            ["loss._target_=a.B", "loss.beta=1"],
            ["++loss.terms.custom._target_=a.B", "++loss.terms.custom.beta=1", "loss=custom"],
        ),
        (["study=null", "seed=1"], ["seed=1"]),
        (["student.recipe.epochs=3"], ["student.recipe.epochs=3", "student.recipe.steps=null"]),
        (["teacher.recipe.steps=3"], ["teacher.recipe.steps=3", "teacher.recipe.epochs=null"]),
        (["student.recipe.epochs=3", "student.recipe.steps=4"], ["student.recipe.epochs=3", "student.recipe.steps=4"]),
        (["loss=[kd,soft_label]"], ["loss=[kd,soft_label]", "published=none", "tuned/loss=none"]),
        (["-m", "seed=0,1"], ["-m", "seed=0,1"]),
    ],
)
def test_expand__completes_what_is_implied(given: list[str], expected: list[str]) -> None:
    assert expand(given) == expected


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
