"""Looking ahead on toys whose answers are known: closed forms, noise that loses its weight, a temperature's optimum."""

from typing import Any

import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from scipy.optimize import minimize_scalar
from torch import Tensor, nn

import kd_lab
from kd_lab import names
from kd_lab.errors import UserError
from kd_lab.losses.common.loss import Loss
from kd_lab.losses.kd import KD
from kd_lab.strategies.common.ahead import ahead
from kd_lab.strategies.common.horizon import BY_A_STEP
from kd_lab.strategies.look_ahead import LookAhead
from kd_lab.training.objective import Term
from kd_lab.types import Batch, Outputs
from tests.strategies.toy import batches, check_strategy_step, objective, trained, training
from tests.training.toys import Linear, Noisy, Plain, kd, toy_data


class Noise(Loss):
    """A term whose gradient has nothing to do with the task; the same at every call with the same batch."""

    def compute(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        generator = torch.Generator().manual_seed(int(batch.index.sum()) * 31 + int(batch.index[0]))
        return (student.logits * torch.randn(student.logits.shape, generator=generator)).mean()


@pytest.mark.parametrize("exact", [True, False])
def test_ahead__is_the_closed_form_of_a_quadratic(exact: bool) -> None:
    torch.manual_seed(0)
    start, ours, theirs, held_out = torch.randn(4, 5, dtype=torch.float64)
    learned = torch.tensor([0.7, 1.3], dtype=torch.float64, requires_grad=True)
    rate = 0.2

    def loss(weights: Any) -> Tensor:
        theta = weights["theta"]
        return learned[0] * (theta - ours).square().sum() / 2 + learned[1] * (theta - theirs).square().sum() / 2

    def validation(weights: Any) -> Tensor:
        return (weights["theta"] - held_out).square().sum() / 2

    (found,) = ahead(loss, validation, {"theta": start}, [learned], rate, exact=exact)
    after = start - rate * (0.7 * (start - ours) + 1.3 * (start - theirs))
    expected = torch.stack([-rate * (after - held_out) @ (start - one) for one in (ours, theirs)])
    torch.testing.assert_close(found, expected, rtol=1e-9 if exact else 1e-6, atol=1e-9)


@pytest.mark.parametrize("network", [Plain, Noisy])
def test_ahead__by_finite_differences_is_nearly_exact_and_moves_nothing(network: type[nn.Module]) -> None:
    found = []
    for exact in (True, False):
        strategy = LookAhead(temperature=True, exact=exact)
        step: Any = strategy.step(training(kd(0.9, 0.1), network=network(0)))
        step.attach(torch.device("cpu"))
        step.train()
        step.at_step(0, 12)
        batch, before = next(batches()), {k: v.clone() for k, v in step.state_dict().items() if "_extra" not in k}
        random = torch.get_rng_state()
        taught = step.teacher(batch)
        (gradient,) = step.horizon.gradient(
            lambda own, step=step, batch=batch, taught=taught: step._total(batch, own, taught),
            batch,
            [step.learned.values],
        )
        assert all(torch.equal(before[name], step.state_dict()[name]) for name in before)
        assert torch.equal(random, torch.get_rng_state())
        found.append(gradient)
    assert found[0].abs().min() > 1e-5
    torch.testing.assert_close(found[1], found[0], rtol=0.02, atol=1e-5)


@pytest.mark.parametrize(
    "settings", [{"temperature": True}, {"exact": False, "every": 2}], ids=["exact", "differences"]
)
def test_step__keeps_the_contract(settings: dict) -> None:
    check_strategy_step(LookAhead(**settings), lambda: training(network=Noisy(0)))


@pytest.mark.parametrize("exact", [True, False])
def test_weight__of_pure_noise_goes_to_0_and_that_of_the_labels_grows(exact: bool) -> None:
    data = toy_data(48, 0, 24)
    own = training(objective({"noise": Term(Noise(), 3.0)}, 1.0), data=data, network=Linear(), steps=120)
    step = LookAhead(learning_rate=0.4, ahead_rate=0.5, exact=exact).step(own)
    trained(step, list(batches(data, 120)), rate=0.02)
    found = step.readings()
    assert found["noise_weight"] / 3 < 0.1
    assert found["hard_weight"] > 1.9


@pytest.mark.slow
def test_temperature__whose_optimum_can_be_computed_is_found() -> None:
    """The network stands still at 0, where a step ahead has a closed form."""
    rate, generator = 0.1, torch.Generator().manual_seed(0)
    data = toy_data(8, 0, 8)
    teacher, network = Linear(1), Linear(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        teacher.layer.weight.copy_(torch.randn(3, 6, generator=generator))
    own = training(objective({"kd": KD(temperature=2.0)}), data=data, network=network, teacher=teacher, steps=400)
    step: Any = LookAhead(temperature=True, learning_rate=0.03, ahead_rate=rate, all_terms=False).step(own)
    trained(step, list(batches(data, 400)), rate=0.0)

    def with_ones(inputs: Tensor) -> np.ndarray:
        return np.hstack([inputs.double().numpy(), np.ones((len(inputs), 1))])

    x = with_ones(data.source.inputs[data.train])
    taught = teacher(data.source.inputs[data.train]).detach().double().numpy()
    v, labels = with_ones(data.source.inputs[data.validation]), data.targets[data.validation].numpy()

    def after_a_step(temperature: float) -> float:
        powers = np.exp(taught / temperature - (taught / temperature).max(1, keepdims=True))
        towards = powers / powers.sum(1, keepdims=True)
        theta = -rate * temperature * x.T @ (np.full_like(towards, 1 / 3) - towards) / len(x)
        logits = v @ theta
        return float(np.mean(np.log(np.exp(logits).sum(1)) - logits[np.arange(len(v)), labels]))

    best = minimize_scalar(after_a_step, bounds=(0.5, 20.0), method="bounded").x
    assert 3 < best < 4
    assert step.readings()["kd_temperature"] == pytest.approx(best, rel=0.03)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"exact": "often"}, r"`exact` to be auto, true or false, but got often"),
        ({"every": 0}, r"`every` to be >= 1, but got 0"),
        ({"ahead_rate": 0.0}, r"`ahead_rate` to be > 0"),
        ({"learning_rate": -1.0}, r"`learning_rate` to be > 0"),
    ],
)
def test_look_ahead__bad_settings(settings: dict, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        LookAhead(**settings)


@pytest.mark.parametrize(
    ("overrides", "complaint"),
    [
        (
            [],
            r"^strategy\.ahead_rate=0\.1: learns from the validation part, and there is none; expected one, such as",
        ),
        (
            ["dataset.validation=200", "student.recipe.compile=true"],
            r"^strategy\.ahead_rate=0\.1: .+student.recipe.compile=fal",
        ),
        (
            ["dataset.validation=200", "loss=crd"],
            r"^strategy\.ahead_rate=0\.1: asks a loss several times .+ and crd remembers",
        ),
        (
            ["dataset.validation=200", "loss=mse_logits", "strategy.temperature=true"],
            r"^strategy\.temperature=true: no term",
        ),
    ],
)
def test_job__that_cannot_be_is_refused(overrides, complaint, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=complaint):
        kd_lab.distil("strategy=look_ahead", *overrides, quiet=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_job__of_several_losses_keeps_what_is_learned_as_curves(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = kd_lab.distil(
        "strategy=look_ahead",
        "strategy.temperature=true",
        "loss=[kd,at]",
        "dataset.validation=200",
        "teacher=cnn",
        "student=cnn",
        "teacher.recipe.epochs=1",
        "student.recipe.steps=12",
        "tracking.every_n_steps=4",
        "measure.latency_runs=1",
        "baseline=false",
        quiet=True,
    )
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    assert client.get_run(result.student.run_id).data.params["loss_name"] == "look_ahead:kd+at"
    told = client.get_run(result.student.run_id).data.tags[names.TAG_LEARNED]
    assert told == f"the weights and temperatures of the terms, {BY_A_STEP}"
    curves = {
        name: [point.value for point in client.get_metric_history(result.student.run_id, f"train/{name}")]
        for name in ("hard_weight", "kd_weight", "at_weight", "kd_temperature")
    }
    assert all(len(set(values)) == 3 for values in curves.values()), curves
    shares = zip(*(curves[name] for name in ("hard_weight", "kd_weight", "at_weight")), strict=True)
    base = client.get_run(result.student.run_id).data.params
    given = [float(base[f"loss.{key}"]) for key in ("hard_weight", "terms.kd.weight", "terms.at.weight")]
    for weights in shares:
        assert sum(one / whole for one, whole in zip(weights, given, strict=True)) == pytest.approx(3.0, rel=1e-5)
