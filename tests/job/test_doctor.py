"""`kd-lab doctor`: the pairs, the pull of each term at the first step, and nothing written."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from kd_lab.job.doctor import Pull, pulls, share_of
from tests.integration.conftest import SMALL, kd_lab  # noqa: F401
from tests.job.composed import plan


def test_doctor__shows_pairs_and_pulls_and_writes_nothing(kd_lab: Any, tmp_path: Path) -> None:  # noqa: F811
    said = kd_lab("doctor 'loss=[kd,at]' teacher=cnn student=cnn student.channels=[8,16]")

    assert said.code == 0, said
    assert "The teacher is not trained yet" in said.out
    assert "student: cnn" in said.out
    assert "35,482 parameters" in said.out
    rows = [line.split("│")[1:-1] for line in said.out.splitlines() if line.startswith("│")]
    cells = [[cell.strip() for cell in row] for row in rows]
    assert ["at", "features.2", "[8, 8, 8]", "features.2", "[32, 8, 8]", "0"] in cells
    assert [row[0] for row in cells[-3:]] == ["hard", "kd", "at"]
    assert ["train", "100", "100", "10", "10.0", "the teacher and the student alone"] in cells
    assert "tuned for digits: student alone batch_size=32 weight_decay=0.001" in said.out
    assert "at decides alone at first" in said.out or "No term decides alone" in said.out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_doctor__finds_the_trained_teacher(kd_lab: Any, tmp_path: Path) -> None:  # noqa: F811
    done = kd_lab("dataset=synthetic baseline=false", *SMALL)
    assert done.code == 0, done
    before = (tmp_path / "mlflow.db").read_bytes()

    said = kd_lab("doctor dataset=synthetic", *SMALL)

    assert "The teacher is run" in said.out
    assert (tmp_path / "mlflow.db").read_bytes() == before


def test_doctor__tells_of_first_stages_and_own_parameters(kd_lab: Any) -> None:  # noqa: F811
    said = kd_lab("doctor loss=fitnet teacher=cnn student=cnn student.channels=[8,16]")

    parameters = 8 * 32 + 32 + 2 * 32  # a 1x1 convolution with bias and BatchNorm
    assert f"{parameters} │" in said.out


@pytest.mark.slow
def test_doctor__tells_the_chain_and_which_of_it_is_found(kd_lab: Any) -> None:  # noqa: F811
    job = " ".join(["strategy=self_training teacher=none baseline=false student.recipe.steps=4", *SMALL[3:]])
    before = kd_lab(f"doctor {job}")
    done = kd_lab(job)
    after = kd_lab(f"doctor {job}")

    assert (before.code, done.code, after.code) == (0, 0, 0), done.err
    assert "strategy=self_training: mlp 32 learns from the labels, the student mlp 32 from mlp 32" in before.out
    assert "No teacher of the job's own.\nassistant 1, mlp 32: not trained yet.\n" in before.out
    found = re.search(r"assistant (\w{8})", done.out)
    assert found is not None
    assert re.search(rf"assistant 1, mlp 32: run {found[1]}, accuracy \d\d?\.\d\d%\.", after.out)
    again = kd_lab("doctor strategy=annealing teacher=mlp")
    assert "The strategy's terms are its own: none of the loss pulls." in again.out
    assert "then from the labels alone; the settings of loss=kd have no effect" in again.out


def test_doctor__is_for_one_job(kd_lab: Any) -> None:  # noqa: F811
    said = kd_lab("doctor -m seed=0,1")

    assert said.code == 2
    assert said.err.strip() == "kd-lab: doctor: looks at one job; leave -m away"


def test_doctor__wrong_input_is_a_sentence(kd_lab: Any) -> None:  # noqa: F811
    said = kd_lab("doctor loss=at")

    assert said.code == 2
    assert said.err.startswith("kd-lab: loss.terms.at: expected maps or sequences")


def test_pulls__are_the_gradients_of_the_weighted_terms() -> None:
    made = plan("loss=none", "teacher=none", "student.widths=[]", "student.recipe.batch_size=10")
    assert made.built is not None
    student, bound = made.built.student, made.built.bound

    (hard,) = pulls(made, bound, student, None)

    batch = next(iter(made.feed(made.student_rows(), made.recipe("x", made.settings.student.recipe, 100), 0)))
    loss = F.cross_entropy(student(batch.inputs), batch.targets)
    gradients = torch.autograd.grad(loss, list(student.parameters()))
    assert hard.value == pytest.approx(float(loss), rel=1e-5)
    assert hard.gradient_norm == pytest.approx(float(torch.cat([g.flatten() for g in gradients]).norm()), rel=1e-5)


def test_share__is_a_part_of_the_sum() -> None:
    found = [Pull("a", 1.0, 1.0, 3.0), Pull("b", 1.0, 1.0, 1.0)]

    assert [share_of(pull, found) for pull in found] == [0.75, 0.25]
    assert share_of(found[0], [Pull("a", 0.0, 1.0, 0.0)]) == 0.0
