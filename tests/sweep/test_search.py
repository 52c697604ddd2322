"""What a search refuses before it begins."""

import sys
from pathlib import Path

import pytest

from kd_lab.cli.main import _main
from kd_lab.job.search_settings import SearchSettings
from tests.job.composed import config


def test_final_seeds__none_is_the_one_that_the_trials_are_tuned_on() -> None:
    composed = config("sweep=optuna")
    assert composed["sweep"]["search"]["final_seeds"] == SearchSettings().final_seeds == [1, 2, 3, 4, 5]
    assert composed["seed"] == 0


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["sweep.search.final_seeds=[0,1,2]"], ("[0,1,2]", 0, "[1,2,3]")),
        (["seed=4"], ("[1,2,3,4,5]", 4, "[1,2,3,5,6]")),
        (["seed=1", "sweep.search.final_seeds=[1]"], ("[1]", 1, "[2]")),
    ],
)
def test_final_seeds__the_tuned_one__refused_and_nothing_written(
    given: list[str],
    told: tuple[str, int, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["kd-lab"])
    assert _main(["-m", "sweep=optuna", "dataset.validation=100", *given]) == 2
    seeds, seed, better = told
    assert (
        f"sweep.search.final_seeds={seeds}: the trials are tuned with seed={seed}, so its result would be too good; "
        f"expected other seeds, such as sweep.search.final_seeds={better}, or another seed\n"
    ) in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
