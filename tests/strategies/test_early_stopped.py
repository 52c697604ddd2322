"""Early stopping: the weights of the terms before and after the end of the lesson, and a teacher of fewer steps."""

import re

import pytest
import torch
from torch.nn import functional as F

import kd_lab
from kd_lab.errors import UserError
from kd_lab.losses.kd import KD
from kd_lab.strategies.common.strategy import Taught
from kd_lab.strategies.early_stopped import EarlyStopped
from kd_lab.training.objective import Objective, Term
from kd_lab.types import UNLABELLED
from tests.job.composed import plan
from tests.strategies.toys import batch, training

SMALL = ["strategy=early_stopped", "teacher=mlp"]


def test_step__after_its_end_is_the_cross_entropy_with_the_labels_alone() -> None:
    step = EarlyStopped(until=0.5).step(training(Objective({"kd": Term(KD(temperature=2.0), 0.7)}, 0.0)))
    seen = batch()
    step.at_step(3, 8)
    lesson = step(seen)
    assert torch.equal(lesson.total, 0.7 * lesson.terms["kd"])
    assert step.readings()["hard_weight"] == 0.0

    step.at_step(4, 8)
    rest = step(seen)

    known = seen.targets != UNLABELLED
    logits = step.network(seen.inputs)
    assert float(rest.total.detach()) == pytest.approx(
        float(F.cross_entropy(logits[known], seen.targets[known]).detach()), rel=1e-6
    )
    assert torch.equal(rest.terms["kd"], lesson.terms["kd"]), "its curve goes on"
    assert step.readings()["hard_weight"] == 1.0
    (expected,) = torch.autograd.grad(F.cross_entropy(logits[known], seen.targets[known]), [step.network.layer.weight])
    (found,) = torch.autograd.grad(rest.total, [step.network.layer.weight])
    assert torch.allclose(found, expected, atol=1e-7)


def test_step__until_the_end__is_plain_distillation() -> None:
    assert type(EarlyStopped(until=1.0).step(training(Objective({"kd": Term(KD())}, 0.1)))) is Taught


def test_plan__teacher_takes_its_share_of_the_steps() -> None:
    taught = plan(*SMALL, "teacher.recipe.steps=30", "strategy.teacher_share=0.1").specs.teacher
    whole = plan(*SMALL, "teacher.recipe.steps=30", "strategy.teacher_share=1").specs.teacher
    assert taught is not None
    assert whole is not None
    assert (taught.recipe.steps, whole.recipe.steps) == (3, 30)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"teacher_share": 0.0}, r"`teacher_share` to be in \(0, 1\], but got 0.0"),
        ({"until": 1.5}, r"`until` to be in \(0, 1\], but got 1.5"),
        ({"teacher_share": 1.0, "until": 1.0}, r"`teacher_share` or `until` to be below 1"),
    ],
)
def test_early_stopped__bad_settings(settings: dict[str, float], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        EarlyStopped(**settings)


@pytest.mark.parametrize(
    ("teacher", "complaint"),
    [
        (
            "teacher.weights=w.safetensors",
            "the teacher comes with its weights (w.safetensors), and those of before its",
        ),
        ("teacher=sklearn", "the teacher is fitted at once; expected teacher_share=1"),
    ],
)
def test_job__teacher_that_has_no_share_is_refused(teacher: str, complaint: str, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match=re.escape(f"strategy.teacher_share=0.5: {complaint}")):
        kd_lab.distil("strategy=early_stopped", teacher, quiet=True)
    assert [file.name for file in tmp_path.iterdir()] == ["w.safetensors"]
