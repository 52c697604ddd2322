"""Native ensemble: its terms and gradients by NumPy, what is kept, and which students and losses it refuses."""

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
from kd_lab.losses.kd import KD
from kd_lab.losses.ps_kd import PSKD
from kd_lab.models.mlp import MLP
from kd_lab.strategies.one import NativeEnsemble
from kd_lab.training.distiller import Distiller
from kd_lab.training.objective import Objective, Term
from kd_lab.types import UNLABELLED, Batch
from tests.contracts.steps import check_step
from tests.reference import losses_numpy as reference
from tests.strategies.toy import check_strategy_step
from tests.strategies.toy import training as of_a_feed
from tests.strategies.trainings import batch, gradients, parties, started, training
from tests.training.toys import CLASSES, FEATURES, Plain, hard, kd

LABELS = [None if target == UNLABELLED else int(target) for target in batch().targets]
KNOWN = np.array([label is not None for label in LABELS])
ONE_HOT = np.eye(CLASSES)[[label or 0 for label in LABELS]]


def deep(seed: int = 0) -> nn.Module:
    """Two stages; the branches part behind the first."""
    torch.manual_seed(seed)
    sizes = ((FEATURES, 16), (16, 12))
    hidden = [part for size in sizes for part in (nn.Linear(*size), nn.ReLU())]
    return nn.Sequential(*hidden, nn.Linear(12, CLASSES))


def made(network: nn.Module, teachers: Any = (), objective: Any = None, **settings: Any) -> Any:
    return NativeEnsemble(**settings).step(training(network, teachers, objective or hard()))


def numpy_of(*tensors: Any) -> list[Any]:
    return [one.detach().double().numpy() for one in tensors]


def said_by(step: Any, network: Any) -> tuple[list[Any], Any, Any, Any]:
    """Of each branch the logits, the gate [B, P], what goes into its ReLU, and the ensemble's logits, by NumPy."""
    shared = network[:2](batch().inputs)
    logits = numpy_of(network(batch().inputs), *(tail.network[2:](shared) for tail in step.tails))
    feature, weight, bias = numpy_of(shared, step.gate.linear.weight, step.gate.linear.bias)
    scale, shift = numpy_of(step.gate.norm.weight, step.gate.norm.bias)
    linear = feature @ weight.T + bias
    normal = (linear - linear.mean(0)) / np.sqrt(linear.var(0) + 1e-5) * scale + shift
    gate = reference.softmax(np.maximum(normal, 0))
    return logits, gate, normal, sum(gate[:, [i]] * one for i, one in enumerate(logits))


def test_value__is_that_of_the_equations() -> None:
    network = deep()
    step = started(made(network, branches=3, temperature=2.5, weight=0.7))
    terms = step(batch())
    logits, gate, _, ensemble = said_by(step, network)
    np.testing.assert_allclose(gate.sum(1), 1)
    assert gate.std(0).min() > 0.01
    expected = {"ensemble_hard": reference.cross_entropy(ensemble, LABELS)}
    for name, own in zip(("", "branch_1_", "branch_2_"), logits, strict=True):
        expected[f"{name}hard"] = reference.cross_entropy(own, LABELS)
        expected[f"{name}from_ensemble"] = reference.kd(own, ensemble, 2.5)
    found = {name: float(value.detach()) for name, value in terms.terms.items()}
    assert found == pytest.approx(expected, rel=1e-4)
    total = sum(value * (0.7 if name.endswith("from_ensemble") else 1) for name, value in expected.items())
    assert float(terms.total.detach()) == pytest.approx(total, rel=1e-5)
    assert terms.labelled == {name for name in expected if name.endswith("hard")}


def test_gradient__the_ensemble_is_a_target_of_the_branches_and_learns_from_the_labels() -> None:
    """By the bias of each classifier, and by the shift of the gate's BatchNorm, which the KL does not reach."""
    network, temperature = deep(), 3.0
    step = started(made(network))
    with torch.no_grad():
        step.gate.norm.bias.copy_(torch.tensor([0.3, -0.1, 0.2]))
    heads = [network[4].bias, *(tail.network[4].bias for tail in step.tails)]
    found = torch.autograd.grad(step(batch()).total, [*heads, step.gate.norm.bias])
    logits, gate, normal, ensemble = said_by(step, network)
    count, size = KNOWN.sum(), len(KNOWN)
    error = (reference.softmax(ensemble) - ONE_HOT) * KNOWN[:, None] / count
    soft = reference.softmax(ensemble, temperature)
    for place, own in enumerate(logits):
        labels = (reference.softmax(own) - ONE_HOT) * KNOWN[:, None] / count
        together = gate[:, [place]] * error
        towards = temperature * (reference.softmax(own, temperature) - soft) / size
        np.testing.assert_allclose(found[place], (labels + together + towards).sum(0), rtol=1e-4, atol=1e-6)
    pull = np.stack([(error * own).sum(1) for own in logits], axis=1)
    through_softmax = gate * (pull - (gate * pull).sum(1, keepdims=True))
    np.testing.assert_allclose(found[3], (through_softmax * (normal > 0)).sum(0), rtol=1e-4, atol=1e-6)


def test_equal_branches_under_an_even_gate__are_the_student_alone_so_many_times() -> None:
    """Nothing is learned from an ensemble of equals; the shared stage is pulled at P + 1 times, a branch 1 + 1 / P."""
    network = deep()
    plain = gradients(Distiller(network, hard()), network, batch())[1]
    step = made(network, branches=4)
    with torch.no_grad():
        step.gate.linear.weight.zero_()
        for tail in step.tails:
            tail.network[2:].load_state_dict(network[2:].state_dict())
    found = gradients(step, network, batch())[1]
    for one, other, times in zip(found, plain, (5, 5, 1.25, 1.25, 1.25, 1.25), strict=True):
        torch.testing.assert_close(one, times * other, rtol=1e-4, atol=1e-6)
    terms = started(step)(batch()).terms
    assert all(abs(float(terms[name].detach())) < 1e-6 for name in terms if name.endswith("from_ensemble"))


def test_batch_without_labels__learns_from_the_ensemble_alone() -> None:
    network = deep()
    unlabelled = batch()._replace(targets=torch.full((9,), UNLABELLED))
    terms = started(made(network))(unlabelled)
    soft = sum(float(terms.terms[f"{name}from_ensemble"].detach()) for name in ("", "branch_1_", "branch_2_"))
    assert soft > 0
    assert float(terms.total.detach()) == pytest.approx(soft, rel=1e-5)


def test_batch_of_one__has_a_gate_all_the_same() -> None:
    one = Batch(*(part[:1] for part in batch()[:3]))
    assert bool(started(made(deep()))(one).total.isfinite())


def test_teacher__teaches_each_branch_and_the_ensemble() -> None:
    network, teacher = deep(), Plain(1)
    step = started(made(network, (teacher,), kd()))
    terms = step(batch())
    logits, _, _, ensemble = said_by(step, network)
    (theirs,) = numpy_of(teacher(batch().inputs))
    for name, own in zip(("", "branch_1_", "branch_2_", "ensemble_"), [*logits, ensemble], strict=True):
        assert float(terms.terms[f"{name}kd"].detach()) == pytest.approx(reference.kd(own, theirs, 2.0), rel=1e-4)


@pytest.mark.parametrize("teachers", [(), (Plain(5),)])
def test_step__keeps_the_contract(teachers: Any) -> None:
    check_step(lambda: made(deep(), teachers, kd() if teachers else hard()), batch())


def test_step__interrupted_ends_as_uninterrupted() -> None:
    check_strategy_step(NativeEnsemble(), lambda: of_a_feed(network=deep()))


def test_branches__follow_from_the_seed_alone_and_are_different() -> None:
    steps: list[Any] = []
    for seed in (3, 3, 4):
        torch.rand(1)
        steps.append(NativeEnsemble().step(training(deep(), (), hard(), seed=seed)))
    drawn = [[*step.tails.parameters(), *step.gate.parameters()] for step in steps]
    assert all(torch.equal(one, other) for one, other in zip(drawn[0], drawn[1], strict=True))
    first, second = (tail.network[4].weight for tail in steps[0].tails)
    assert not torch.equal(first, second)
    assert not torch.equal(first, steps[2].tails[0].network[4].weight)
    assert not torch.equal(steps[0].gate.linear.weight, steps[2].gate.linear.weight)


def test_followed__the_other_branches_and_all_together() -> None:
    network = deep()
    step = started(made(network)).eval()
    followed, said = step.followed(), step.all_say(batch().inputs)
    assert [*followed] == ["branch_1", "branch_2", "ensemble"]
    assert all(torch.equal(one(batch().inputs), said[name]) for name, one in followed.items())
    torch.testing.assert_close(said[""], network(batch().inputs))


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"branches": 1}, r"`branches` to be >= 2, the student one of them, but got 1; strategy=none is the student"),
        ({"temperature": 0.0}, r"`temperature` to be > 0, but got 0.0"),
        ({"weight": -1.0}, r"`weight` to be > 0, but got -1.0"),
    ],
)
def test_bad_settings(settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        NativeEnsemble(**settings)


REMEMBERS = PSKD(num_classes=3, targets=torch.zeros(24, dtype=torch.int64))


@pytest.mark.parametrize(
    ("student", "terms", "more", "complaint"),
    [
        (Plain(), {}, {}, r"^the student has fewer than two stages.* or student=cnn \(its layers: layers\.0 \[16\]"),
        (deep(), {"kd": KD()}, {"compares_layers": True}, r"^branches: a loss of layers is bound to one network"),
        (deep(), {"ps_kd": REMEMBERS}, {}, r"^branches: loss=ps_kd remembers what one network said"),
    ],
)
def test_check__refuses(student: nn.Module, terms: dict[str, Any], more: dict[str, Any], complaint: str) -> None:
    objective = Objective({name: Term(loss) for name, loss in terms.items()}, 1.0)
    with pytest.raises(ValueError, match=complaint):
        NativeEnsemble().check(parties(student, None, objective, **more))


SHORT = ["teacher=none", "loss=none", "student.recipe.steps=60", "measure.latency_runs=1"]
MORE = ["baseline=false", "trainer.threads=1", "dataset.validation=50"]


def test_job__of_one_stage_is_refused(tmp_path: Any, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"^strategy=one: the student has fewer than two stages.* student=cnn"):
        kd_lab.distil("strategy=one", *SHORT, *MORE, quiet=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_job__keeps_the_plain_network_and_the_curves_of_its_branches(tmp_path: Any, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    deeper = "student.widths=[32,16]"
    result, plain = (kd_lab.distil(f"strategy={one}", *SHORT, *MORE, deeper, quiet=True) for one in ("one", "none"))
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    run = MlflowClient(uri).get_run(result.student.run_id)
    path = download_artifacts(
        run_id=result.student.run_id, artifact_path=names.ARTIFACT_WEIGHTS, tracking_uri=uri, dst_path=str(tmp_path)
    )
    with safe_open(path, "pt") as file:
        assert {*file.keys()} == {*MLP(10, (1, 8, 8), widths=[32, 16]).state_dict()}
    for cost in (names.COST_PARAMS_TOTAL, names.COST_MACS):
        assert result.student.measurement[cost] == plain.student.measurement[cost]
    assert run.data.params["loss_name"] == "one:none"
    curves = {"train/loss_from_ensemble", "train/loss_branch_2_hard", "train/loss_ensemble_hard"}
    assert curves <= run.data.metrics.keys()
    assert run.data.metrics["ensemble/val/accuracy_top1"] > 0.2
    assert "branch_2/val/accuracy_top1" in run.data.metrics
