"""DOT against NumPy: its two momenta step by step, SGD where they are one, and what it cannot be used with."""

import functools
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import kd_lab
from kd_lab.errors import UserError
from kd_lab.insight.taps import Tap
from kd_lab.losses.common.loss import Loss
from kd_lab.strategies.dot import APART, DOT, TwoMomenta
from kd_lab.training.module import TrainingModule
from kd_lab.training.objective import Term
from kd_lab.training.recipe import Recipe
from kd_lab.types import Batch, Outputs
from tests.strategies.toy import batches, check_strategy_step, objective, training
from tests.training.toys import Linear, Noisy, Plain, Projected, kd, same, toy_data, toy_recipe, train, weights

DEMO = ["student/recipe/optimizer=sgd", "loss.hard_weight=0.5"]
SGD = functools.partial(torch.optim.SGD, lr=0.1, momentum=0.9, weight_decay=0.01)
MU, DELTA, DECAY, RATE = 0.9, 0.075, 0.01, 0.1
MU_HARD, MU_SOFT = MU - DELTA, MU + DELTA


class Hint(Loss):
    """Reaches what comes before the hidden layer alone."""

    def compute(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        return (student.features[0] - 1).square().mean()


def recipe(delta: float = DELTA, **changes: Any) -> Recipe:
    return DOT(delta=delta).recipe(toy_recipe(SGD, **changes))


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_trajectory__is_that_of_the_equations(accumulate: int) -> None:
    """A linear network, whose gradients are known: cross-entropy at 0.3 and T^2 KL at 0.7, all points labelled."""
    data, teacher, network, seen = toy_data(24), Linear(1), Linear(0), []
    own = training(kd(0.7, 0.3), data=data, network=network, teacher=teacher)
    theta = np.hstack([network.layer.weight.detach().numpy(), network.layer.bias.detach().numpy()[:, None]])
    theta, taught = theta.astype(float), teacher(data.source.inputs).detach().double().numpy()
    settings = recipe(steps=6, batch_size=4, accumulate=accumulate)
    step: Any = DOT().step(own)
    original = step.forward
    step.forward = lambda batch: (seen.append(batch), original(batch))[1]
    train(network, data=data, objective=own.objective, teacher=teacher, recipe=settings, step=step)

    v_hard, v_soft, gradients = np.zeros_like(theta), np.zeros_like(theta), []
    for batch in seen:
        x = np.hstack([batch.inputs.double().numpy(), np.ones((len(batch.inputs), 1))])
        z, t = x @ theta.T, taught[batch.index.numpy()]
        hard = (softmax(z) - np.eye(3)[batch.targets.numpy()]).T @ x / len(x)
        soft = 2.0 * (softmax(z / 2) - softmax(t / 2)).T @ x / len(x)
        gradients.append((0.3 * hard / accumulate, 0.7 * soft / accumulate))
        if batch.last:
            hard, soft = (sum(parts) for parts in zip(*gradients, strict=True))
            v_hard = MU_HARD * v_hard + hard + DECAY * theta
            v_soft = MU_SOFT * v_soft + soft
            theta, gradients = theta - RATE * (v_hard + v_soft), []
    assert len(seen) == 6 * accumulate
    found = np.hstack([network.layer.weight.detach().numpy(), network.layer.bias.detach().numpy()[:, None]])
    np.testing.assert_allclose(found, theta, rtol=1e-5, atol=1e-6)
    assert not hasattr(network.layer.weight, APART)


@pytest.mark.parametrize("changes", [{}, {"accumulate": 2}, {"no_decay": True}, {"ema": 0.5}], ids=str)
def test_delta_of_0__is_sgd_bit_for_bit(changes: dict) -> None:
    ends = []
    for delta in (None, 0.0, DELTA):
        network, teacher = Noisy(0), Plain(1)
        settings = toy_recipe(SGD, **changes) if delta is None else recipe(delta, **changes)
        own = training(kd(0.7, 0.3), network=network, teacher=teacher, data=toy_data(24, 6))
        step: Any = None if delta is None else DOT(delta=delta).step(own)
        train(
            network, data=own.data, objective=own.objective, teacher=teacher, recipe=settings, step=step
        )  # plain distillation where there is no step
        ends.append(weights(network))
    assert same(ends[0], ends[1])
    assert not same(ends[0], ends[2])


def test_parameter__that_one_of_both_reaches_keeps_the_momentum() -> None:
    """The classifier learns from labels alone, the projector of a loss from the teacher alone."""
    terms = objective({"hint": Term(Hint(), student_slots=(0,))}, 0.5)
    terms.losses["projected"] = projected = Projected()
    terms.terms["projected"], terms.weights["projected"] = Term(projected, 0.4), 0.4
    network: Any = Plain(0)
    own = training(terms, network=network, taps=(Tap("layers.1"),))
    step: Any = DOT().step(own)
    step.attach(torch.device("cpu"))
    optimizer = recipe().optimizer(step.parameters())
    named = {"first": network.layers[0].weight, "projector": projected.projector.weight}
    theta = {name: p.detach().double().numpy() for name, p in named.items()}
    v_hard, v_soft = ({name: np.zeros_like(value) for name, value in theta.items()} for _ in range(2))
    for number, batch in enumerate(batches()):
        step.at_step(number, 12)
        optimizer.zero_grad()
        step(batch).total.backward()
        for name, parameter in named.items():
            whole = parameter.grad.double().numpy()
            hard = getattr(parameter, APART).double().numpy() if name == "first" else 0 * whole
            rates = (MU_HARD, MU_SOFT) if name == "first" else (MU, MU)
            v_hard[name] = rates[0] * v_hard[name] + hard + DECAY * theta[name]
            v_soft[name] = rates[1] * v_soft[name] + whole - hard
            theta[name] = theta[name] - RATE * (v_hard[name] + v_soft[name])
        optimizer.step()
    assert not hasattr(projected.projector.weight, APART)
    for name, parameter in named.items():
        np.testing.assert_allclose(parameter.detach().numpy(), theta[name], rtol=1e-5, atol=1e-6)


def test_classifier__that_no_soft_term_reaches_keeps_the_momentum() -> None:
    network: Any = Plain(0)
    own = training(objective({"hint": Term(Hint(), student_slots=(0,))}, 0.5), network=network, taps=(Tap("layers.1"),))
    step: Any = DOT().step(own)
    step.attach(torch.device("cpu"))
    step(next(batches())).total.backward()
    assert [hasattr(one, APART) for one in network.parameters()] == [True, True, False, False]
    step.release()
    assert not any(hasattr(one, APART) for one in network.parameters())


def test_step__keeps_the_contract() -> None:
    check_strategy_step(DOT(), lambda: training(kd(0.7, 0.3), network=Noisy(0)))


def test_state__has_both_momenta(monkeypatch: pytest.MonkeyPatch) -> None:
    network, made = Plain(0), []
    original = TrainingModule.configure_optimizers
    monkeypatch.setattr(TrainingModule, "configure_optimizers", lambda self: made.append(original(self)) or made[-1])
    own = training(kd(0.7, 0.3), network=network)
    train(network, data=own.data, objective=own.objective, teacher=Plain(1), recipe=recipe(), step=DOT().step(own))
    (optimizer,) = made
    assert isinstance(optimizer, TwoMomenta)
    states = optimizer.state_dict()["state"].values()
    assert [sorted(state) for state in states] == [["hard", "sum"]] * 4
    assert all(float(state["hard"].abs().max()) > 0 for state in states)


@pytest.mark.parametrize("delta", [-0.1, 1.0, float("nan")])
def test_dot__bad_settings(delta: float) -> None:
    with pytest.raises(ValueError, match=r"`delta` to be from 0 to below 1, but got"):
        DOT(delta=delta)


@pytest.mark.parametrize(
    ("overrides", "complaint"),
    [
        (
            DEMO[:1],
            r"^strategy=dot: has a momentum for the hard .+ only kd has a weight above 0; expected both, such as",
        ),
        ([*DEMO[1:]], r"^strategy=dot: splits the momentum of SGD in two, .+ is Adam without one; expected student/re"),
        ([*DEMO, "student.recipe.optimizer.momentum=0"], r"^strategy=dot: .+ is SGD without one"),
        ([*DEMO, "student.recipe.optimizer.nesterov=true"], r"^strategy=dot: .+ is SGD with nesterov or dampening"),
        ([*DEMO, "strategy.delta=0.1"], r"^strategy\.delta=0\.1: the momenta 0\.9 - .+; expected less than 0\.1$"),
        ([*DEMO, "student.recipe.clip_norm=1"], r"^strategy=dot: does not go with student\.recipe\.clip_norm=1\.0;"),
        ([*DEMO, "student.recipe.precision=16-mixed"], r"^strategy=dot: does not go with student\.recipe\.prec.+=16"),
        ([*DEMO, "student.recipe.compile=true"], r"^strategy=dot: does not go with student\.recipe\.compile=true"),
    ],
    ids=lambda one: one[-1] if isinstance(one, list) else "",
)
def test_job__that_cannot_be_is_refused(overrides, complaint, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=complaint):
        kd_lab.distil("strategy=dot", *overrides, quiet=True)
    assert not list(tmp_path.iterdir())
