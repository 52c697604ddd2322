"""Gradients of the terms: what is measured, and that nothing moves by it."""

import pytest
import torch
from mlflow import MlflowClient
from torch.nn import functional as F

import kd_lab
from kd_lab.losses.kd import KD
from kd_lab.teachers.frozen import FrozenTeacher
from kd_lab.training.callbacks.gradients import looked
from kd_lab.training.distiller import Distiller
from kd_lab.training.objective import Objective, Term
from kd_lab.types import UNLABELLED
from tests.strategies.toy import batches
from tests.training.toys import Noisy, Plain, same, weights

SHORT = [
    "teacher=mlp",
    "teacher.widths=[32]",
    "teacher.recipe.epochs=2",
    "student.recipe.epochs=2",
    "measure.latency_runs=1",
    "baseline=false",
]


def flat(value, parameters):
    return torch.cat([one.flatten() for one in torch.autograd.grad(value, parameters, retain_graph=True)])


def test_looked__norms_and_cosines_are_those_of_the_terms() -> None:
    network, teacher = Plain(0), Plain(1)
    step = Distiller(network, Objective({"kd": Term(KD(temperature=2.0), 0.9)}, 0.0), teacher=FrozenTeacher(teacher))
    batch = next(batches())
    found = looked(step, batch, 0)
    logits, taught = network(batch.inputs), teacher(batch.inputs)
    hard = flat(F.cross_entropy(logits, batch.targets), list(network.parameters()))
    divergence = F.kl_div(
        (logits / 2).log_softmax(1), (taught / 2).log_softmax(1), log_target=True, reduction="batchmean"
    )
    soft = flat(4 * divergence, list(network.parameters()))
    assert found == pytest.approx(
        {
            "gradient_norm_hard": float(hard.norm()),
            "gradient_norm_kd": float(soft.norm()),
            "gradient_cosine_hard_kd": float(F.cosine_similarity(hard, soft, dim=0)),
        },
        rel=1e-4,
    )


def test_looked__at_a_batch_without_labels_has_no_cosine_and_moves_nothing() -> None:
    network = Noisy(0).train()
    step = Distiller(network, Objective({"kd": Term(KD())}, 0.5), teacher=FrozenTeacher(Plain(1)))
    before, random = weights(step), torch.get_rng_state()
    batch = next(batches())
    found = looked(step, batch._replace(targets=torch.full_like(batch.targets, UNLABELLED)), 0)
    assert {*found} == {"gradient_norm_hard", "gradient_norm_kd"}
    assert found["gradient_norm_hard"] == 0
    assert found["gradient_norm_kd"] > 0
    assert same(before, weights(step))
    assert torch.equal(random, torch.get_rng_state())
    assert all(one.grad is None for one in network.parameters())


@pytest.mark.slow
def test_job__follows_gradients_and_trains_the_same_weights(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    plain = kd_lab.distil(*SHORT, quiet=True)
    followed = kd_lab.distil(*SHORT, "measure.gradients=true", "study=followed", quiet=True)
    assert plain.student.weights_sha256 == followed.student.weights_sha256
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    for key in ("gradient_norm_hard", "gradient_norm_kd", "gradient_cosine_hard_kd", "gradients_s"):
        points = client.get_metric_history(followed.student.run_id, f"train/{key}")
        assert [point.step for point in points] == [19, 38]
        assert not client.get_metric_history(plain.student.run_id, f"train/{key}")
