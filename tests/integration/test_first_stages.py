"""Losses with a first stage, as whole jobs: what each stage trains, and in which mode."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from kd_lab.losses.ft import FT, Reconstruction
from kd_lab.training.module import TrainingModule
from kd_lab.types import Batch

pytestmark = pytest.mark.slow

CNNS = "dataset=digits teacher=cnn student=cnn student.channels=[8,16] tuned/loss=none"
SHORT = "baseline=false student.recipe.steps=20"


class Step:
    """What one training step saw and did, by the number of the training that it belongs to."""

    def __init__(self, module: TrainingModule) -> None:
        self.module = module
        self.terms = set(module.step.objective.terms)
        self.in_training_mode = {part.training for part in module.step.network.modules()}
        self.trained = {name for name, p in module.named_parameters() if p.requires_grad}
        self.state = {name: value.clone() for name, value in module.state_dict().items()}


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[Step]:
    """The first step of every training, in order."""
    seen: list[Step] = []
    original = TrainingModule.training_step

    def watched(self: TrainingModule, batch: Batch, batch_idx: int) -> None:
        if not seen or seen[-1].module is not self:
            seen.append(Step(self))
        original(self, batch, batch_idx)

    monkeypatch.setattr(TrainingModule, "training_step", watched)
    return seen


@pytest.fixture
def job(kd_lab: Callable[..., Any], small: list[str]) -> Callable[[str], None]:
    def run(line: str) -> None:
        more = [override for override in small if not override.startswith(("teacher=", "student."))]
        said = kd_lab(f"{CNNS} {SHORT} {line}", *more)
        assert said.code == 0, said.err

    return run


@pytest.mark.parametrize("loss", ["ab", "fsp student.channels=[32,64] student.hidden=8"])
def test_first_stage__trains_the_student_alone_then_the_labels(
    job: Callable[[str], None], steps: list[Step], loss: str
) -> None:
    name = loss.split(maxsplit=1)[0]
    job(f"loss={loss} loss.terms.{name}.stage_epochs=1")

    _, first, main = steps  # the teacher's training comes before
    assert (first.terms, main.terms) == ({name}, set())
    assert first.module.step.network is main.module.step.network
    assert first.in_training_mode == main.in_training_mode == {True}


def test_first_stage__trains_the_paraphraser_alone_then_the_student(
    job: Callable[[str], None], steps: list[Step]
) -> None:
    job("loss=ft loss.terms.ft.stage_epochs=1")

    _, first, main = steps
    stage, loss = (s.module.step.objective.losses["ft"] for s in (first, main))
    assert isinstance(stage, Reconstruction)
    assert isinstance(loss, FT)
    assert stage.paraphraser is loss.paraphraser
    paraphraser = {name for name in main.state if "paraphraser" in name}
    assert first.trained == paraphraser == set(first.state)
    assert main.in_training_mode == {True}
    assert not main.trained & paraphraser
    assert any("translator" in name for name in main.trained)
    afterwards = main.module.state_dict()
    for name in paraphraser:
        assert not torch.equal(first.state[name], main.state[name]), name
        assert torch.equal(main.state[name], afterwards[name]), name


def test_first_stage__of_no_epochs_is_a_term_beside_the_labels(job: Callable[[str], None], steps: list[Step]) -> None:
    job("loss=ab loss.terms.ab.stage_epochs=0")

    _, main = steps
    assert main.terms == {"ab"}
    assert {name.split(".")[3] for name in main.trained if name.startswith("step.objective")} == {"ab"}
