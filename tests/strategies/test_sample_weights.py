"""Weights of samples: equal to the objective where all are 1, to plain gradients where learned, 0 for a wrong label."""

from typing import Any

import pytest
import torch
from torch.nn import functional as F

import kd_lab
from kd_lab.errors import UserError
from kd_lab.losses.kd import KD
from kd_lab.losses.nkd import NKD
from kd_lab.losses.wsld import WSLD
from kd_lab.strategies.common.samples import asked
from kd_lab.strategies.sample_weights import SampleWeights
from kd_lab.training.distiller import Distiller
from kd_lab.training.objective import Objective, Term
from kd_lab.types import Outputs, Share
from tests.strategies.toy import batches, check_strategy_step, trained, training
from tests.training.toys import Linear, Plain, kd, toy_data


@pytest.mark.parametrize("settings", [{}, {"exact": False}, {"by": "margin"}], ids=["exact", "differences", "margin"])
def test_step__keeps_the_contract(settings: dict) -> None:
    check_strategy_step(SampleWeights(**settings))


@pytest.mark.parametrize("loss", [KD(temperature=3.0), NKD(), WSLD()], ids=["kd", "nkd", "wsld"])
def test_loss__asked_sample_by_sample_has_its_own_mean(loss: Any) -> None:
    torch.manual_seed(0)
    batch = next(batches())
    own, taught = Outputs(torch.randn(8, 3)), Outputs(torch.randn(8, 3))
    torch.testing.assert_close(asked(loss, own, taught, batch).mean(), loss(own, taught, batch))


@pytest.mark.parametrize("share", [None, Share(torch.tensor(0.3), torch.tensor(0.6))], ids=["whole", "piece"])
def test_total__with_weights_of_1_is_the_objective(share: Share | None) -> None:
    terms = {"kd": Term(KD(temperature=2.0), 0.7, standardize=True), "nkd": Term(NKD(), 0.4)}
    own = training(Objective(terms, 0.3, label_smoothing=0.1))
    batch = next(batches())._replace(share=share)
    assert 0 < (batch.targets < 0).sum() < 8
    found = []
    for step in (SampleWeights(by="none").step(own), Distiller(own.network, own.objective, teacher=own.teacher)):
        said = step(batch)
        found.append((said.total, dict(said.terms), torch.autograd.grad(said.total, list(own.network.parameters()))))
    torch.testing.assert_close(found[0], found[1])


@pytest.mark.parametrize("exact", [True, False])
def test_weights__are_what_each_sample_gains(exact: bool) -> None:
    own = training(kd(0.5, 0.5), network=Plain(0))
    step: Any = SampleWeights(exact=exact).step(own)
    step.attach(torch.device("cpu"))
    step.at_step(0, 12)
    batch = next(batches())._replace(targets=torch.arange(8) % 3)
    taught = step.teacher(batch)
    weights = step.sample_weights(batch, step.answers(batch), taught)
    held_out, parameters = next(iter(own.validation.start(0))), list(own.network.parameters())
    towards = torch.autograd.grad(F.cross_entropy(own.network(held_out.inputs), held_out.targets), parameters)
    gains = []
    for i in range(8):
        alone = batch._replace(inputs=batch.inputs[i : i + 1], targets=batch.targets[i : i + 1])
        total = own.objective(Outputs(own.network(alone.inputs)), Outputs(taught.logits[i : i + 1]), alone).total
        ours = torch.autograd.grad(total, parameters)
        gains.append(sum(float((a * b).sum()) for a, b in zip(ours, towards, strict=True)))
    expected = torch.tensor(gains).clamp(min=0)
    assert 0 < (expected == 0).sum() < 8
    torch.testing.assert_close(weights, expected / expected.mean(), rtol=1e-4 if exact else 0.02, atol=1e-3)


def test_sample__with_a_wrong_label_gets_no_weight() -> None:
    """Samples of two classes have nothing in common, so one with another's label pulls against its own class alone."""
    data, classes = toy_data(24, 0, 24), torch.arange(48) % 3
    data.source.inputs.mul_(0.05).add_(3 * torch.eye(3, 6)[classes])
    wrong = torch.arange(0, 24, 4)
    data.targets[wrong] = (data.targets[wrong] + 1) % 3
    step: Any = SampleWeights().step(training(Objective({}, 1.0), data=data, network=Linear()))
    kept: dict[bool, list[float]] = {True: [], False: []}
    ask = step.sample_weights

    def watched(batch: Any, own: Any, taught: Any) -> Any:
        weights = ask(batch, own, taught)
        for index, weight in zip(batch.index, weights.tolist(), strict=True):
            kept[bool(torch.isin(index, wrong))].append(weight)
        return weights

    step.sample_weights = watched
    trained(step, list(batches(data)), rate=0.05)
    assert sum(kept[True]) / len(kept[True]) < 0.01
    assert sum(kept[False]) / len(kept[False]) > 1.2


def test_controls__follow_from_the_teacher() -> None:
    taught = Outputs(torch.tensor([[0.0, 0.0, 0.0], [9.0, 0.0, 0.0], [1.0, 1.0, -20.0]]))
    batch, own = next(batches()), Outputs(torch.zeros(3, 3))
    p = taught.logits.double().softmax(1)
    sure = {"entropy": 1 + (p * p.log()).sum(1) / torch.tensor(3.0).log(), "margin": p[:, 0] - p[:, 1]}
    for by, expected in sure.items():
        step: Any = SampleWeights(by=by).step(training())
        found = step.sample_weights(batch, own, taught).double()
        torch.testing.assert_close(found, expected / expected.mean(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("overrides", "complaint"),
    [
        ([], r"^strategy\.by=look_ahead: learns from the validation part, and there is none"),
        (
            ["loss=dist"],
            r"^strategy\.by=look_ahead: weighs samples, and dist compares the samples of a batch; expected a l",
        ),
        (
            ["loss=fitnet"],
            r"^strategy\.by=look_ahead: weighs samples, and fitnet compares layers; expected a loss such as",
        ),
        (["strategy.by=age"], r"^strategy\.by=age: expected 'look_ahead', 'entropy', 'margin' or 'none'"),
    ],
)
def test_job__that_cannot_be_is_refused(overrides, complaint, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=complaint):
        kd_lab.distil("strategy=sample_weights", *overrides, quiet=True)
    assert not list(tmp_path.iterdir())
