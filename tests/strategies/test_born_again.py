"""Generations: who teaches whom with and without a teacher, and what they say together."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from mlflow import MlflowClient

import kd_lab
from kd_lab import names
from kd_lab.strategies.born_again import BornAgain
from kd_lab.strategies.common.strategy import Link
from tests.job.composed import plan

SHORT = ["strategy=born_again", "student.recipe.steps=4", "measure.latency_runs=1", "trainer.threads=1"]


def test_links__each_generation_learns_from_the_one_before_it() -> None:
    strategy = BornAgain(generations=3)
    assert strategy.links() == (
        Link(None, (0,), follows_seed=True, or_labels=True),
        Link(None, (1,), follows_seed=True),
    )
    assert strategy.taught_by() == (2,)


@pytest.mark.parametrize("generations", [0, 1])
def test_born_again__one_generation_is_none(generations: int) -> None:
    with pytest.raises(ValueError, match=rf"`generations` to be 2 or more .*, but got {generations}"):
        BornAgain(generations=generations)


@pytest.mark.parametrize("teacher", ["mlp", "none"])
def test_plan__first_generation_has_the_teacher_or_the_labels(teacher: str) -> None:
    made = plan(*SHORT, f"teacher={teacher}", "seed=5")
    first, second = made.specs.links
    assert (first.lesson.teachers if first.lesson else ()) == (() if teacher == "none" else (made.specs.teacher,))
    assert first.part == ("train" if teacher == "none" else "transfer")
    assert second.lesson is not None
    assert second.lesson.teachers == (first,)
    assert made.specs.student.lesson is not None
    assert made.specs.student.lesson.teachers == (second,)
    assert first.recipe.steps == second.recipe.steps == 4
    seeds = {first.seed, second.seed, 5}
    assert len(seeds) == 3, "each begins with weights of its own"
    assert not seeds & {one.seed for one in plan(*SHORT, f"teacher={teacher}", "seed=6").specs.links}


@pytest.mark.slow
def test_job__without_a_teacher__what_all_generations_say_together_is_a_number_of_its_own(
    tmp_path, monkeypatch, empty_store
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mlflow.db").write_bytes(empty_store.read_bytes())
    result = kd_lab.distil(*SHORT, "teacher=none", "baseline=false", quiet=True)

    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    said, right = [], None
    for one in (*result.links, result.student):
        path = client.download_artifacts(one.run_id, names.ARTIFACT_PREDICTIONS)
        file = np.load(path)
        said.append(torch.from_numpy(file[names.SAMPLE_PROBABILITIES]).double())
        right = torch.from_numpy(file[names.SAMPLE_TARGET])
    together = float((torch.stack(said).mean(dim=0).argmax(dim=1) == right).double().mean())
    student = client.get_run(result.student.run_id)
    assert len(said) == 3
    assert math.isclose(student.data.metrics[names.TEST_ENSEMBLE_ACCURACY_TOP1], together)
    assert names.TEST_ENSEMBLE_ACCURACY_TOP1 not in client.get_run(result.links[0].run_id).data.metrics
    report = client.download_artifacts(result.student.run_id, names.ARTIFACT_REPORT)
    text = Path(report).read_text(encoding="utf-8")
    assert f"| accuracy of it and its links together, % | {100 * together:.2f} |" in text
    assert "| training time of all, s |" in text
    assert all(f"- assistant: run {link.run_id}" in text for link in result.links)
