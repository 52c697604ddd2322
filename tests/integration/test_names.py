"""Names of a user's own that mean something to a terminal."""

from collections.abc import Callable
from typing import Any


def test_names__a_study_in_markup__the_job_runs_and_says_it_as_it_is(
    kd_lab: Callable[..., Any], small: list[str]
) -> None:
    said = kd_lab("dataset=synthetic", "study='[/b] mine'", *small)
    assert said.code == 0, said
    assert "study [/b] mine, seed 0, test part" in said.out
    assert "study [/b] mine in sqlite:///mlflow.db" in said.out
    assert "Traceback" not in said.err
