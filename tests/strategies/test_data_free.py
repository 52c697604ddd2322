"""Distillation from made samples: what the generator minimises, that no sample of the data is looked at, its state."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import kd_lab
from kd_lab import names
from kd_lab.errors import UserError
from kd_lab.losses.kd import KD
from kd_lab.store.store import Store
from kd_lab.strategies.common.asked import Watched
from kd_lab.strategies.common.free.noise import generator_loss
from kd_lab.strategies.common.generators import Generator
from kd_lab.strategies.common.strategy import Training
from kd_lab.strategies.data_free import DataFree
from kd_lab.training.objective import Objective, Term
from kd_lab.types import Batch

CPU = torch.device("cpu")
FEW = "strategy.every=2 strategy.inner_steps=3 strategy.samples=8 strategy.bank=20"
ALSO = [f"strategy.method={method} {FEW}" for method in ("deep_inversion", "cmi")]


def network(seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3))


def step(method: str, seed: int = 0, every: int = 1):
    teacher = network(1).eval()
    data = SimpleNamespace(num_classes=3, example=lambda count: torch.rand(count, 1, 3, 4))
    training = Training(
        network=network(0),
        objective=Objective({"kd": Term(KD(temperature=2.0))}, 0.0),
        teachers=(),
        networks=(teacher,),
        taps=(),
        peers=(),
        data=data,  # type: ignore[arg-type]
        validation=None,
        steps=4,
        seed=seed,
    )
    made = DataFree(method, every=every).step(training)
    made.attach(CPU)
    return made


def batch(value: float = 0.0) -> Batch:
    return Batch(torch.full((8, 1, 3, 4), value), torch.arange(8) % 3, torch.arange(8))


def test_generator_loss__as_numpy_says() -> None:
    random = np.random.default_rng(0)
    teacher, student = random.normal(size=(2, 5, 4))

    def softmax(z: np.ndarray) -> np.ndarray:
        e = np.exp(z - z.max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)

    p, q = softmax(teacher), softmax(student)
    mean = p.mean(axis=0)
    expected = {
        "one_hot": -np.log(p.max(axis=1)).mean(),
        "activation": -3.0,
        "balance": (mean * np.log(mean)).sum(),
        "statistics": 2.0,
        "adversarial": -(p * np.log(p / q)).sum(axis=1).mean(),
    }
    found = generator_loss(torch.tensor(teacher), torch.tensor(student), torch.tensor(2.0), torch.tensor(3.0))
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert float(found[name]) == pytest.approx(value, rel=1e-9)


def test_watched__distance_of_statistics_and_size_of_features() -> None:
    teacher = network(1).eval()
    watched = Watched(teacher, 3)
    watched.attach()
    inputs = torch.rand(7, 1, 3, 4)
    logits, distance, size = watched(inputs)
    with torch.no_grad():
        hidden = teacher[1](inputs.flatten(1))
    mean = (hidden.mean(0) - teacher[2].running_mean).norm()
    variance = (hidden.var(0, unbiased=False) - teacher[2].running_var).norm()
    assert float(distance) == pytest.approx(float(mean + variance), rel=1e-5)
    assert float(size) == pytest.approx(float(teacher[3](teacher[2](hidden)).abs().mean()), rel=1e-5)
    watched.remove()
    assert torch.equal(teacher(inputs), logits)
    assert not teacher[2]._forward_pre_hooks


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 7, 5), (11,), (2, 9)])
def test_generator__samples_of_any_shape_between_its_bounds(shape: tuple[int, ...]) -> None:
    made = Generator(shape, 6, -1.0, 2.0)(torch.randn(4, 6))
    assert made.shape == (4, *shape)
    assert float(made.min()) >= -1.0
    assert float(made.max()) <= 2.0


def test_generator__that_is_not_normalized__reaches_its_bounds() -> None:
    made = Generator((1, 8, 8), 6, 0.0, 1.0, normalized=False)
    last = made.body[-1]
    assert isinstance(last, nn.Conv2d)
    assert last.bias is not None
    nn.init.constant_(last.bias, -50.0)
    assert float(made(torch.randn(4, 6)).max()) < 1e-6


@pytest.mark.parametrize("method", ["dafl", "zskt", "dfq"])
def test_step__the_same_whatever_the_data_are(method: str) -> None:
    values = []
    for inputs in (0.0, 5.0):
        made = step(method)
        made.at_step(0, 4)
        values.append(float(made(batch(inputs)).total))
    assert values[0] == values[1]
    assert values[0] > 0


def test_step__generator_moves_every_so_many_steps_and_the_teacher_never() -> None:
    made = step("dafl", every=2)
    (teacher,) = [made.frozen.module]
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    moved = []
    for number in range(4):
        kept = [p.detach().clone() for p in made.generator.parameters()]
        made.at_step(number, 4)
        made(batch()).total.backward()
        moved.append(any(not torch.equal(a, b) for a, b in zip(kept, made.generator.parameters(), strict=True)))
    assert moved == [True, False, True, False]
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())
    assert {id(p) for p in made.parameters()} == {id(p) for p in made.network.parameters()}


def test_step__of_several_batches__other_samples_in_each_and_one_step_of_the_generator() -> None:
    made, alone = step("dafl"), step("dafl")
    for one in (made, alone):
        one.at_step(0, 4)
    first = float(made(batch()).total.detach())
    kept = [p.detach().clone() for p in made.generator.parameters()]
    made.at_step(0, 4)
    second = float(made(batch()).total.detach())
    assert first == float(alone(batch()).total.detach())
    assert second != first
    assert all(torch.equal(a, b) for a, b in zip(kept, made.generator.parameters(), strict=True))
    made.at_step(1, 4)
    alone.at_step(1, 4)
    assert float(made(batch()).total.detach()) == float(alone(batch()).total.detach())


def test_step__state__goes_on_as_if_it_had_not_ended() -> None:
    whole, first = step("dfq"), step("dfq")
    for number in range(4):
        whole.at_step(number, 4)
        expected = float(whole(batch()).total)
    for number in range(2):
        first.at_step(number, 4)
        first(batch())
    second = step("dfq")
    second.load_state_dict(first.state_dict())
    for number in range(2, 4):
        second.at_step(number, 4)
        found = float(second(batch()).total)
    assert found == expected


def test_step__counts_what_the_teacher_answered() -> None:
    """A batch of 8 at each of four steps, and one for the generator at every other."""
    made = step("dafl", every=2)
    for number in range(4):
        made.at_step(number, 4)
        made(batch())
    other = step("dafl")
    other.load_state_dict(made.state_dict())
    assert made.teacher_samples == other.teacher_samples == 4 * 8 + 2 * 8


SHORT = ["strategy=data_free", "teacher=cnn", "teacher.channels=[4]", "baseline=false", "measure.latency_runs=1"]
STEPS = ["teacher.recipe.epochs=1", "student.recipe.steps=8"]


@pytest.mark.parametrize(
    ("overrides", "complaint"),
    [
        (
            ["teacher=mlp", "strategy.method=dfq"],
            r"^strategy\.method=dfq: reads what BatchNorm layers remember, and the t",
        ),
        (["loss=fitnet", "student=cnn"], r"^strategy\.method: expected a loss of logits"),
        (["teacher=sklearn"], r"^strategy\.method: a gradient has to pass the teacher"),
        (["strategy.every=0"], r"^strategy\.every=0: expected > 0"),
        (["loss=ps_kd"], r"^loss=ps_kd: asks no teacher, and strategy=data_free"),
    ],
)
def test_job__that_cannot_be_is_refused(overrides, complaint, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    own = [one for one in SHORT if not (one.startswith("teacher") and any(o.startswith("teacher=") for o in overrides))]
    with pytest.raises(UserError, match=complaint):
        kd_lab.distil(*own, *overrides, quiet=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_job__keeps_a_picture_of_what_was_made_and_no_answers_of_the_data(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = kd_lab.distil(*SHORT, *STEPS, quiet=True)
    run = Store.open("sqlite:///mlflow.db", "digits").get(result.student.run_id)
    with run.opened(names.ARTIFACT_SAMPLES) as path:
        assert path.read_bytes().startswith(b"\x89PNG")
    assert "train/generator_one_hot" in run.metrics
    assert not list(tmp_path.rglob("answers/*"))
