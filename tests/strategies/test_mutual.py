"""Mutual learning: the sum of every network's loss, what moves whom, and peers as runs of their own."""

from typing import Any

import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from sklearn.dummy import DummyClassifier

import kd_lab
from kd_lab import names
from kd_lab.errors import UserError
from kd_lab.losses.kd import KD
from kd_lab.losses.ps_kd import PSKD
from kd_lab.models.sklearn import SklearnEstimator
from kd_lab.strategies.mutual import Mutual
from kd_lab.training.distiller import Distiller
from kd_lab.training.objective import Objective, Term
from kd_lab.types import UNLABELLED
from tests.contracts.steps import check_step
from tests.reference import losses_numpy as reference
from tests.strategies.trainings import batch, gradients, parties, started, training
from tests.training.toys import Linear, Noisy, Plain, hard, kd

A = {"_target_": "a"}
LABELS = [None if target == UNLABELLED else int(target) for target in batch().targets]


def test_value__is_every_networks_labels_and_the_others() -> None:
    """DML's equation 6 and 9, written out in probabilities; unlabelled samples have the mutual terms alone."""
    networks = [Plain(0), Plain(1), Linear(2)]
    step: Any = started(Mutual(weight=0.7).step(training(networks[0], (), hard(), peers=tuple(networks[1:]))))
    terms = step(batch())
    said = [one(batch().inputs).detach().double().numpy() for one in networks]
    mutual = [np.mean([reference.kd(k, j, 1.0) for j in said if j is not k]) for k in said]
    labels = [reference.cross_entropy(k, LABELS) for k in said]
    assert float(terms.total.detach()) == pytest.approx(sum(labels) + 0.7 * sum(mutual), rel=1e-5)
    found = {name: float(value.detach()) for name, value in terms.terms.items()}
    expected = {"hard": labels[0], "mutual": mutual[0]}
    expected |= {f"peer_{i}_{name}": v[i] for i in (1, 2) for name, v in (("hard", labels), ("mutual", mutual))}
    assert found == pytest.approx(expected, rel=1e-4)
    assert terms.labelled == {"hard", "peer_1_hard", "peer_2_hard"}


def test_gradient__the_others_are_targets_without_a_graph() -> None:
    student, peer = Linear(0), Linear(1)
    step: Any = started(Mutual().step(training(student, (), hard(), peers=(peer,))))
    found = torch.autograd.grad(step(batch()).total, [student.layer.bias, peer.layer.bias])
    p_s, p_p = (reference.softmax(one(batch().inputs).detach().double().numpy()) for one in (student, peer))
    known = np.array([label is not None for label in LABELS])
    onehot = np.eye(3)[[label or 0 for label in LABELS]]
    for own, other, gradient in ((p_s, p_p, found[0]), (p_p, p_s, found[1])):
        expected = (own - onehot)[known].sum(axis=0) / known.sum() + (own - other).mean(axis=0)
        np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-6)


def test_equal_peer__teaches_nothing() -> None:
    student = Plain()
    plain = gradients(Distiller(student, hard()), student, batch())[1]
    found = gradients(Mutual().step(training(student, (), hard(), peers=(Plain(),))), student, batch())[1]
    torch.testing.assert_close(found, plain, rtol=1e-5, atol=1e-7)


def test_teacher__teaches_each_peer_too() -> None:
    student, peer, teacher = Plain(0), Plain(1), Plain(2)
    terms = started(Mutual().step(training(student, (teacher,), kd(), peers=(peer,))))(batch()).terms
    said = {one: one(batch().inputs).detach().double().numpy() for one in (student, peer, teacher)}
    for name, own in (("kd", student), ("peer_1_kd", peer)):
        assert float(terms[name].detach()) == pytest.approx(reference.kd(said[own], said[teacher], 2.0), rel=1e-4)


@pytest.mark.parametrize("teachers", [(), (Plain(5),)])
def test_step__keeps_the_contract(teachers: Any) -> None:
    objective = kd() if teachers else hard()
    check_step(lambda: Mutual().step(training(Plain(), teachers, objective, peers=(Noisy(1), Plain(2)))), batch())


def test_peers__none_named__one_of_the_students_own_kind() -> None:
    assert Mutual().peers() == (None,)
    assert Mutual([A, A]).peers() == (A, A)


def test_bad_settings() -> None:
    with pytest.raises(ValueError, match=r"`weight` to be a finite number > 0, but got 0"):
        Mutual(weight=0.0)


FITTED = SklearnEstimator(DummyClassifier(), 3)
REMEMBERS = PSKD(num_classes=3, targets=torch.zeros(24, dtype=torch.int64))


@pytest.mark.parametrize(
    ("terms", "more", "complaint"),
    [
        ({}, {"peers": (Plain(), FITTED)}, r"^peers: number 2 is fitted, not trained by gradients"),
        ({"kd": KD()}, {"compares_layers": True}, r"^peers: a loss of layers is bound to one network"),
        ({"ps_kd": REMEMBERS}, {}, r"^peers: loss=ps_kd remembers what one network said"),
    ],
)
def test_check__refuses(terms: dict[str, Any], more: dict[str, Any], complaint: str) -> None:
    objective = Objective({name: Term(loss) for name, loss in terms.items()}, 1.0)
    with pytest.raises(ValueError, match=complaint):
        Mutual().check(parties(Plain(), None, objective, **more))


SHORT = [
    "strategy=mutual",
    "teacher=none",
    "loss=none",
    "student.recipe.steps=60",
    "measure.latency_runs=1",
    "baseline=false",
    "trainer.threads=1",
]


def test_job__peer_of_other_classes_is_refused(tmp_path: Any, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"^strategy\.peers: expected logits of shape \[batch, 10\]"):
        kd_lab.distil(*SHORT, "strategy.peers=[{mlp:{num_classes:4}}]", quiet=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_job__peers_are_runs_of_their_own_and_one_that_cannot_be_measured_costs_the_student_nothing(
    tmp_path: Any, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    frail = "{_target_: tests.strategies.trainings.Frail}"
    chosen = [f"strategy.peers=[mlp_16,{frail}]", "dataset.validation=50", "tracking.every_n_steps=20"]
    result = kd_lab.distil(*SHORT, *chosen, quiet=True)
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    found = client.search_runs([client.get_experiment_by_name("digits").experiment_id])
    student = client.get_run(result.student.run_id)
    peers = {run.data.params["network"]: run for run in found if run.data.tags[names.TAG_ROLE] == names.PEER}
    assert {len(found), student.info.status} == {3, "FINISHED"}
    mlp, other = peers["mlp 16"], peers["tests.strategies.trainings.Frail"]
    assert [mlp.info.status, other.info.status] == ["FINISHED", "FAILED"]
    assert "cannot be measured" in other.data.tags[names.TAG_REASON]
    for peer in (mlp, other):
        assert peer.data.tags[names.TAG_STUDENT_RUN] == student.info.run_id
        assert names.TAG_WEIGHTS_SHA256 in peer.data.tags
        assert peer.data.params["loss_name"] == "mutual:none"
    assert mlp.data.params["seed"] == "1"
    assert mlp.data.metrics[names.TEST_ACCURACY_TOP1] > 0.3
    curves = {"train/loss_mutual", "train/loss_peer_1_hard", "train/loss_peer_2_mutual", "peer_1/val/accuracy_top1"}
    assert curves | {"peer_2/val/nll_nats"} <= student.data.metrics.keys()
