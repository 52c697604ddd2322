"""A teacher is asked once, by whatever command comes first."""

import re
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kd_lab.job import keeper
from kd_lab.job.measured import measure


def kept_in(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.glob("mlflow.db.answers/*/*"))


@pytest.mark.slow
def test_answers__of_one_job_serve_the_next(kd_lab: Callable[..., Any], small: list[str], tmp_path: Path) -> None:
    line = "dataset=synthetic baseline=false"
    first = kd_lab(line, *small)
    assert first.code == 0, first.err
    assert re.search(r"^teacher: 60 of 60 batches answered from what it said once of [\d,]+ points$", first.out, re.M)
    kept = kept_in(tmp_path)
    assert len(kept) == 1
    before = (tmp_path / kept[0]).stat().st_mtime_ns
    second = kd_lab(f"{line} loss.temperature=9 seed=1", *small)
    assert second.code == 0, second.err
    assert "teacher: 60 of 60 batches answered" in second.out
    assert kept_in(tmp_path) == kept
    assert (tmp_path / kept[0]).stat().st_mtime_ns == before


def test_answers__asked_for_and_impossible__one_sentence_and_nothing_is_trained(
    kd_lab: Callable[..., Any], small: list[str], tmp_path: Path
) -> None:
    said = kd_lab("dataset=digits student.recipe.augment=true teacher.cache=memory", *small)
    assert said.code == 2
    assert said.err.startswith("kd-lab: teacher.cache=memory: every epoch draws its views anew")
    assert said.err.count("\n") == 1
    with sqlite3.connect(tmp_path / "mlflow.db") as store:
        assert store.execute("SELECT count(*) FROM runs").fetchone() == (0,)


@pytest.mark.slow
def test_found_again__a_network_is_measured_once_in_a_process(
    kd_lab: Callable[..., Any], small: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[str] = []

    def noted(*arguments: Any, **named: Any) -> Any:
        measured.append(named["label"])
        return measure(*arguments, **named)

    monkeypatch.setattr(keeper, "measure", noted)
    for temperature in (2, 3, 4):
        said = kd_lab(f"dataset=synthetic loss.temperature={temperature}", *small)
        assert said.code == 0, said.err
    assert measured == ["teacher", "baseline", "student", "student", "student"]
    assert re.search(r"teacher: run \w{8} found again and verified, accuracy", said.out)
