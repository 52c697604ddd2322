"""Gates over pairs of layers: noise loses its gate, a gate of all is the loss of that pair, curves and picture."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from torch import Tensor, nn

import kd_lab
from kd_lab import names
from kd_lab.errors import UserError
from kd_lab.insight.pairing import Pair
from kd_lab.insight.taps import Tap
from kd_lab.losses.common.loss import Loss
from kd_lab.strategies.common.strategy import Training
from kd_lab.strategies.layer_gates import LayerGates
from kd_lab.teachers.frozen import FrozenTeacher
from kd_lab.training.objective import Term
from kd_lab.types import Batch, Data, Outputs
from tests.job.composed import CNNS, plan
from tests.strategies.toy import batches, check_strategy_step, objective, trained, training
from tests.training.toys import CLASSES, FEATURES, Linear, Noisy, toy_data

DEMO = ["loss=[kd,fitnet]"]
TWO = ("same_s1_t1", "same_s1_t2")


class Same(Loss):
    """The squared distance of two layers as they are."""

    def compute(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        return (student.features[0] - teacher.features[0]).square().mean()


class HalfNoise(nn.Module):
    """Knows the classes in one layer and says nothing in another: noise that is new in every batch."""

    def __init__(self, data: Data) -> None:
        super().__init__()
        own = torch.stack([data.source.inputs[torch.arange(c, len(data.targets), CLASSES)].mean(0) for c in range(3)])
        self.useful, self.noise = nn.Linear(FEATURES, CLASSES), Random()
        with torch.no_grad():  # the log of a Gaussian's density around each class's centre
            self.useful.weight.copy_(own)
            self.useful.bias.copy_(-own.square().sum(1) / 2)

    def forward(self, inputs: Tensor) -> Tensor:
        self.noise(inputs)
        return self.useful(inputs)


class Random(nn.Module):
    def forward(self, inputs: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(abs(hash(float(inputs.sum()))) % 2**31)
        return 3 * torch.randn(len(inputs), CLASSES, generator=generator)


def two(network: nn.Module, layer: str, *, hard_weight: float = 0.1, steps: int = 12) -> Training:
    """The student's logits, or another layer of three, beside both layers of a teacher."""
    data = toy_data(48, 0, 24)
    teacher = HalfNoise(data)
    terms = {name: Term(Same(), 0.5, False, (0,), (slot,)) for slot, name in enumerate(TWO)}
    made = training(objective(terms, hard_weight), data=data, network=network, taps=(Tap(layer),), steps=steps)
    taps = (Tap("useful"), Tap("noise"))
    pairs = {name: (Pair(Tap(layer), taps[slot], (CLASSES,), (CLASSES,)),) for slot, name in enumerate(TWO)}
    facts: dict[str, Any] = {"teachers": (FrozenTeacher(teacher, taps),), "networks": (teacher,), "pairs": pairs}
    return Training(**{**vars(made), **facts})


@pytest.mark.parametrize("exact", [True, False])
def test_gate__of_a_layer_that_is_pure_noise_goes_to_0(exact: bool) -> None:
    made = two(Linear(), "layer", steps=120)
    step: Any = LayerGates(learning_rate=0.2, ahead_rate=0.5, exact=exact).step(made)
    trained(step, list(batches(made.data, 120)), rate=0.02)
    useful, noise = (step.readings()[f"{name}_gate"] for name in TWO)
    assert noise < 0.1
    assert useful + noise == pytest.approx(2.0, rel=1e-5)


def test_total__is_the_hard_labels_and_the_mean_over_pairs_of_gate_times_loss() -> None:
    made = two(Linear(), "layer", hard_weight=0.3)
    step: Any = LayerGates().step(made)
    with torch.no_grad():
        step.learned.values.copy_(torch.tensor([0.4, -1.0]))
    step.attach(torch.device("cpu"))
    batch = next(batches(made.data))
    found = step(batch)
    v = np.array([0.4, -1.0])
    gates = 2 * np.exp(v) / np.exp(v).sum()
    values = {name: float(term.detach()) for name, term in found.terms.items()}
    expected = 0.3 * values["hard"] + sum(gate * values[name] / 2 for gate, name in zip(gates, TWO, strict=True))
    assert float(found.total) == pytest.approx(expected, rel=1e-6)
    assert step.readings() == pytest.approx({f"{name}_gate": g for name, g in zip(TWO, gates, strict=True)}, rel=1e-6)
    step.release()


def test_step__keeps_the_contract() -> None:
    check_strategy_step(LayerGates(), lambda: two(Noisy(0), "head"))


@pytest.mark.parametrize("settings", [{"learning_rate": 0.0}, {"every": 0}, {"ahead_rate": -1.0}], ids=str)
def test_layer_gates__bad_settings(settings: dict) -> None:
    with pytest.raises(ValueError, match=f"`{next(iter(settings))}` to be >"):
        LayerGates(**settings)


GATES = ["strategy=layer_gates", "dataset.validation=50", *CNNS]


def test_pairs__are_all_of_both_networks_and_share_the_weight() -> None:
    built = plan(*GATES, "loss=[kd,vid]", "loss.terms.vid.weight=2").built
    assert built is not None
    compared = {name: [(p.student.name, p.teacher.name) for p in some] for name, some in built.bound.pairs.items()}
    first, second = "features.2", "features.5"
    assert compared == {
        "vid_s1_t1": [(first, first)],
        "vid_s1_t2": [(first, second)],
        "vid_s2_t1": [(second, first)],
        "vid_s2_t2": [(second, second)],
    }
    assert built.bound.objective.weights == {"kd": 0.9} | dict.fromkeys(compared, 0.5)


def test_pairs__of_named_layers_need_not_be_as_many_of_both() -> None:
    named = ["student.layers=[features.2]", "teacher.layers=[features.2,features.5,features]"]
    with pytest.raises(UserError, match=r"^loss\.terms\.fitnet: Expected two layers with as many axes.+features"):
        plan(*GATES, "loss=fitnet", *named)
    built = plan(*GATES, "loss=sp", *named).built
    assert built is not None
    assert [pair.teacher.name for (pair,) in built.bound.pairs.values()] == ["features.2", "features.5", "features"]


@pytest.mark.parametrize(
    ("overrides", "complaint"),
    [
        (
            ["loss=kd"],
            r"^strategy=layer_gates: has a gate for each pair of layers, and no loss .+ compares layers; exp",
        ),
        (["loss=[at,fitnet]"], r"^strategy=layer_gates: gates the pairs of one loss, and AT and FitNet compare layers"),
        (
            ["loss=fitnet", "student.layers=[features.2]", "teacher.layers=[features.2]"],
            r"^strategy=layer_gates: has nothing to choose from: .+ one pair",
        ),
        (
            ["loss=rkd"],
            r"^loss\.terms\.rkd: has no value for each pair of layers alone; expected a loss that has, such",
        ),
        (["loss=ft"], r"^loss\.terms\.ft: has no value for each pair of layers alone"),
        (["loss=simkd"], r"^loss\.terms\.simkd: has no value for each pair of layers alone"),
        (["loss=fsp"], r"^loss\.terms\.fsp: has no value for each pair of layers alone"),
        (
            ["loss=fitnet", "dataset.validation=0"],
            r"^strategy\.ahead_rate=0\.1: learns from the validation part, and th",
        ),
    ],
    ids=lambda one: one[0] if isinstance(one, list) else "",
)
def test_job__that_cannot_be_is_refused(overrides: list[str], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        plan(*GATES, *overrides)


@pytest.mark.slow
def test_job__keeps_a_curve_of_each_gate_and_a_picture_of_all(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = kd_lab.distil(
        "strategy=layer_gates",
        "loss=[kd,fitnet]",
        "dataset.validation=50",
        "teacher=cnn",
        "student=cnn",
        "teacher.recipe.steps=5",
        "student.recipe.steps=6",
        "tracking.every_n_steps=2",
        "strategy.every=2",
        "measure.latency_runs=1",
        "trainer.threads=1",
        "baseline=false",
        quiet=True,
    )
    client, run = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}"), result.student.run_id
    keys = [f"train/fitnet_s{s}_t{t}_gate" for s in (1, 2) for t in (1, 2)]
    curves = np.array([[point.value for point in client.get_metric_history(run, key)] for key in keys])
    assert curves.shape == (4, 3)
    np.testing.assert_allclose(curves.mean(0), 1.0, rtol=1e-5)
    assert np.all(np.ptp(curves, axis=1) > 0)
    assert client.get_run(run).data.params["loss_name"] == "layer_gates:kd+fitnet"
    assert client.get_run(run).data.tags[names.TAG_LEARNED].startswith("a gate for each pair of layers (s1_t2: the")
    picture = client.download_artifacts(run, names.ARTIFACT_GATES, str(tmp_path))
    assert Path(picture).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
