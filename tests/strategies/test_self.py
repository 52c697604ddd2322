"""Self-distillation: what exits learn by NumPy, where they stand, and that the student is kept without them."""

from typing import Any

import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from safetensors import safe_open
from torch import nn

import kd_lab
from kd_lab import names
from kd_lab.errors import UserError
from kd_lab.insight.probe import Probe
from kd_lab.insight.stages import inner_ends
from kd_lab.models.cnn import CNN
from kd_lab.models.mlp import MLP
from kd_lab.models.resnet import ResNet
from kd_lab.strategies.self import SelfDistillation
from kd_lab.training.distiller import Distiller
from kd_lab.types import UNLABELLED, Batch
from tests.contracts.steps import check_step
from tests.reference import losses_numpy as reference
from tests.strategies.trainings import batch, gradients, parties, started, training
from tests.training.toys import CLASSES, FEATURES, Plain, hard, kd

LABELS = [None if target == UNLABELLED else int(target) for target in batch().targets]


def deep(seed: int = 0) -> nn.Module:
    """Three stages, of which two have an exit."""
    torch.manual_seed(seed)
    sizes = ((FEATURES, 16), (16, 12), (12, 8))
    hidden = [part for size in sizes for part in (nn.Linear(*size), nn.ReLU())]
    return nn.Sequential(*hidden, nn.Linear(8, CLASSES))


def test_value__is_that_of_the_equation() -> None:
    network = deep()
    step: Any = started(
        SelfDistillation(share=0.3, temperature=2.0, feature_weight=0.05).step(training(network, (), hard()))
    )
    terms = step(batch())
    first = network[:2](batch().inputs)
    stages = [first, network[2:4](first)]
    read = network[4:6](stages[1]).detach().double().numpy()
    final = network(batch().inputs).detach().double().numpy()
    total = reference.cross_entropy(final, LABELS)
    for number, (stage, leaves) in enumerate(zip(stages, step.exits, strict=True), start=1):
        vector, logits = (one.detach().double().numpy() for one in leaves(stage))
        counts = (vector > 0) | (read > 0)
        expected = {
            "hard": reference.cross_entropy(logits, LABELS),
            "soft": reference.kd(logits, final, 2.0),
            "feature": np.mean(np.sum(counts * (vector - read) ** 2, axis=1)),
        }
        found = {name: float(terms.terms[f"exit_{number}_{name}"].detach()) for name in expected}
        assert found == pytest.approx(expected, rel=1e-4)
        total += 0.7 * expected["hard"] + 0.3 * expected["soft"] + 0.05 * expected["feature"]
    assert float(terms.total.detach()) == pytest.approx(total, rel=1e-5)
    assert terms.labelled == {"hard", "exit_1_hard", "exit_2_hard"}


def test_gradient__the_final_answer_is_a_target() -> None:
    """The last stage and the classifier, behind all exits, learn what they learn without any."""
    network = deep()
    plain = gradients(Distiller(network, hard()), network, batch())[1]
    found = gradients(SelfDistillation().step(training(network, (), hard())), network, batch())[1]
    assert all(torch.equal(one, other) for one, other in zip(found[4:], plain[4:], strict=True))
    assert not any(torch.allclose(one, other) for one, other in zip(found[:4], plain[:4], strict=True))


def test_value__is_the_same_of_a_batch_twice_as_large() -> None:
    one, step = batch(), started(SelfDistillation(feature_weight=1.0).step(training(deep(), (), hard())))
    twice = Batch(*(torch.cat([part, part]) for part in one[:3]))
    torch.testing.assert_close(step(twice).total, step(one).total)


def test_teacher__teaches_the_final_answer() -> None:
    network, teacher = deep(), Plain(1)
    terms: Any = started(SelfDistillation().step(training(network, (teacher,), kd())))(batch())
    said = [one(batch().inputs).detach().double().numpy() for one in (network, teacher)]
    assert float(terms.terms["kd"].detach()) == pytest.approx(reference.kd(*said, 2.0), rel=1e-4)


@pytest.mark.parametrize("teachers", [(), (Plain(5),)])
def test_step__keeps_the_contract(teachers: Any) -> None:
    check_step(lambda: SelfDistillation().step(training(deep(), teachers, kd() if teachers else hard())), batch())


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        (MLP(10, (1, 8, 8), widths=[64, 32]), 1),
        (MLP(10, (1, 8, 8), widths=[32]), 0),
        (CNN(10, (1, 8, 8), channels=[8, 16], hidden=32), 2),
        (ResNet(10, (1, 8, 8), depth=8, channels=[4, 4, 8, 16]), 2),
    ],
    ids=["mlp", "one layer", "cnn", "resnet"],
)
def test_ends__of_every_stage_but_the_last(network: nn.Module, expected: int) -> None:
    assert len(inner_ends(Probe.of(network, torch.randn(2, 1, 8, 8)))) == expected


def test_exits__follow_from_the_seed_alone() -> None:
    made: list[Any] = []
    for seed in (3, 3, 4):
        torch.rand(1)
        made.append(SelfDistillation().step(training(deep(), (), hard(), seed=seed)))
    weights = [step.exits[0].bottleneck.weight for step in made]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"share": 1.5}, r"`share` to be in \[0, 1\], but got 1.5"),
        ({"temperature": 0.0}, r"`temperature` to be > 0, but got 0.0"),
        ({"feature_weight": -1.0}, r"`feature_weight` to be a finite number >= 0, but got -1.0"),
    ],
)
def test_bad_settings(settings: dict[str, float], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        SelfDistillation(**settings)


def test_check__a_network_of_one_stage_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^the student has fewer than two stages.* \(its layers: layers\.0 \[16\]"):
        SelfDistillation().check(parties(Plain(), None, hard()))


SHORT = ["strategy=self", "teacher=none", "loss=none", "student.recipe.steps=60", "measure.latency_runs=1"]
MORE = ["baseline=false", "trainer.threads=1", "dataset.validation=50"]


def test_job__of_one_stage_is_refused(tmp_path: Any, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"^strategy=self: the student has fewer than two stages"):
        kd_lab.distil(*SHORT, *MORE, quiet=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_job__keeps_the_plain_network_and_the_curves_of_its_exits(tmp_path: Any, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    result = kd_lab.distil(*SHORT, *MORE, "student.widths=[32,16]", quiet=True)
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    run = MlflowClient(uri).get_run(result.student.run_id)
    path = download_artifacts(
        run_id=result.student.run_id, artifact_path=names.ARTIFACT_WEIGHTS, tracking_uri=uri, dst_path=str(tmp_path)
    )
    with safe_open(path, "pt") as file:
        assert {*file.keys()} == {*MLP(10, (1, 8, 8), widths=[32, 16]).state_dict()}
    assert run.data.metrics[names.COST_PARAMS_TOTAL] == sum(
        p.numel() for p in MLP(10, (1, 8, 8), widths=[32, 16]).parameters()
    )
    assert run.data.params["loss_name"] == "self:none"
    curves = {"train/loss_exit_1_hard", "train/loss_exit_1_soft", "train/loss_exit_1_feature"}
    assert curves <= run.data.metrics.keys()
    assert run.data.metrics["exit_1/val/accuracy_top1"] > 0.2
