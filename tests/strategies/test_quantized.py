"""Quantization-aware distillation: the step in closed form, what a job keeps of it, and what it refuses."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import kd_lab
from kd_lab import names
from kd_lab.analysis.runs import studies
from kd_lab.errors import UserError
from kd_lab.insight.int8 import InInt8, kept_ranges
from kd_lab.job.evaluate import evaluate, rebuild
from kd_lab.store.store import Store
from kd_lab.strategies.common.strategy import Strategy
from kd_lab.strategies.quantized import Quantized, Rounded
from kd_lab.types import Outputs
from tests.strategies.toy import batches, check_strategy_step, trained, training
from tests.strategies.trainings import parties
from tests.training.toys import Noisy, Plain, kd, toy_recipe


def test_step__keeps_the_contract_and_resumes_exactly_its_ranges_too() -> None:
    check_strategy_step(Quantized(rate=0.3, observe_until=1.0))
    check_strategy_step(Quantized(rate=0.3, observe_until=0.02))  # goes on after they are frozen


def test_step__objective__is_of_the_student_in_int8() -> None:
    step, plain = Quantized().step(training()), training()
    (seen, *_) = batches()
    step.attach(torch.device("cpu"))
    step.at_step(0, 12)
    total = step(seen).total
    assert isinstance(step, Rounded)
    own = InInt8(step.network, step.ranges)(seen.inputs)
    taught = plain.teacher(seen)  # type: ignore[misc]
    assert float(total.detach()) == pytest.approx(float(plain.objective(Outputs(own.detach()), taught, seen).total))
    step.release()


def test_step__ranges__are_frozen_after_their_share() -> None:
    step, seen = Quantized(observe_until=0.5, rate=0.3).step(training()), list(batches())
    assert isinstance(step, Rounded)
    told = []
    for number, batch in enumerate(seen):
        step.at_step(number, len(seen))
        step(batch)
        told.append(step.ranges.clone())
    changes = [not torch.equal(one, other) for one, other in itertools.pairwise(told)]
    assert changes == [True] * 5 + [False] * 6


def test_trained__the_network_is_plain() -> None:
    made = training(network=Noisy())
    names_before = list(made.network.state_dict())
    step = Quantized().step(made)
    trained(step, list(batches()))
    assert list(made.network.state_dict()) == names_before
    assert all(type(p) is nn.Parameter for p in made.network.parameters())
    assert not any(m._forward_pre_hooks or m._forward_hooks for m in made.network.modules())
    Noisy().load_state_dict(made.network.state_dict())


def test_trained__answers_survive_the_rounding_better() -> None:
    """With ranges so narrow that plain distillation, rounded so, says something else."""
    ranges, apart = torch.tensor([[-0.5, 0.5]] * 2), {}
    for kind in (Strategy(), Quantized(observe_until=0.02)):
        made = training(teacher=Plain(1), steps=60)
        step = kind.step(made)
        if isinstance(step, Rounded):
            step.ranges.copy_(ranges)
            step.settings.rate = 0.0
        trained(step, list(batches(steps=60)))
        inputs = made.data.rows(made.data.transfer).batch(0, 99, "cpu")
        said, taught = InInt8(made.network, ranges)(inputs), made.networks[0](inputs)
        apart[type(kind)] = float((said.log_softmax(1) - taught.log_softmax(1)).square().mean().detach())
    assert apart[Quantized] < 0.9 * apart[Strategy]


@pytest.mark.parametrize("settings", [{"observe_until": 0.0}, {"rate": 1.5}])
def test_quantized__bad_settings(settings: dict[str, float]) -> None:
    ((name, value),) = settings.items()
    with pytest.raises(ValueError, match=rf"`{name}` to be in \(0, 1\], but got {value}"):
        Quantized(**settings)


def test_check__nothing_to_round_or_compiled__refused() -> None:
    embedding = nn.Sequential(nn.Embedding(3, 3))
    with pytest.raises(ValueError, match=r"^the student has no linear layer and no convolution, so nothing of it can"):
        Quantized().check(parties(embedding, None, kd()))
    with pytest.raises(ValueError, match=r"expected student\.recipe\.compile=false"):
        Quantized().check(parties(Plain(), None, kd(), recipe=toy_recipe(compile=True)))
    Quantized().check(parties(Plain(), None, kd()))


@pytest.fixture
def given(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A small job in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mlflow.db").write_bytes(empty_store.read_bytes())
    y = np.arange(90) % 3
    X = (np.random.default_rng(0).normal(size=(90, 6)) + 2 * (np.arange(6) % 3 == y[:, None])).astype(np.float32)
    np.savez("my.npz", X=X[:60], y=y[:60], X_test=X[60:], y_test=y[60:])
    return [
        "dataset=arrays",
        "dataset.path=my.npz",
        "dataset.validation=9",
        "teacher=none",
        "loss=none",
        "student.recipe.steps=30",
        "student.recipe.batch_size=20",
        "measure.latency_runs=3",
        "measure.latency_warmup=1",
        "measure.figures=false",
        f"tracking.uri=sqlite:///{tmp_path}/mlflow.db",
        "trainer.threads=1",
    ]


def test_job__measured_in_int8_and_kept_plain(given: list[str], tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    result = kd_lab.distil(*given, "strategy=quantized", quiet=True)
    stored = Store.existing(uri).get(result.student.run_id)
    assert result.baseline is not None
    for one in (result.student, result.baseline):  # the student alone is its control, rounded afterwards
        assert one.measurement.keys() >= {names.TEST_INT8_ACCURACY_TOP1, names.COST_INT8_WEIGHTS_BYTES}
    assert stored.metrics["int8/val/accuracy_top1"] >= 0
    with stored.opened(names.ARTIFACT_NETWORK) as file:
        ranges = json.loads(file.read_text())["activation_ranges"]
    network, _ = rebuild(stored)
    assert list(ranges) == [name.removesuffix(".weight") for name in network.state_dict() if name.endswith("weight")]
    found = kept_ranges(network)
    assert found is not None
    assert found.tolist() == list(ranges.values())
    X, y = (np.load("my.npz")[key] for key in ("X_test", "y_test"))
    said = InInt8(network.eval(), found)(torch.tensor(X)).argmax(dim=1).numpy()
    assert stored.metrics[names.TEST_INT8_ACCURACY_TOP1] == float((said == y).mean())
    with stored.opened(names.ARTIFACT_REPORT) as report:
        assert "| accuracy in int8, % | " in report.read_text()
    again = evaluate(result.student.run_id, uri, {"accelerator": "cpu", "devices": 1, "strategy": "auto", "threads": 1})
    assert again[names.TEST_INT8_ACCURACY_TOP1] == stored.metrics[names.TEST_INT8_ACCURACY_TOP1]


@pytest.mark.slow
def test_job__the_control__plain_and_measured_so(given: list[str]) -> None:
    result = kd_lab.distil(*given, "measure.int8=true", "baseline=false", quiet=True)
    assert names.TEST_INT8_ACCURACY_TOP1 in result.student.measurement
    plain = kd_lab.distil(*given, "baseline=false", quiet=True)
    assert names.TEST_INT8_ACCURACY_TOP1 not in plain.student.measurement
    assert plain.student.weights_sha256 == result.student.weights_sha256


class Looked(nn.Module):
    """A network without a linear layer: a distance to learned points."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.points = nn.Parameter(torch.zeros(num_classes, 6))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return -(inputs[:, None] - self.points).square().sum(dim=2)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("strategy=quantized", "^strategy=quantized: the student has no linear layer and no convolution, so nothing"),
        ("measure.int8=true", "^measure.int8=true: the student has no linear layer and no convolution, so nothing of"),
    ],
)
def test_job__nothing_to_round__one_sentence_and_no_run(said: str, message: str, given: list[str]) -> None:
    with pytest.raises(UserError, match=message):
        kd_lab.distil(*given, said, f"student._target_={__name__}.Looked", "study=none_of_it", quiet=True)
    uri = given[-2].removeprefix("tracking.uri=")
    assert studies(uri) == []
