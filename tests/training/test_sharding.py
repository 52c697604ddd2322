"""Two real processes on gloo, each with a piece of what is trained, train what two of DDP do."""

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from kd_lab import names
from kd_lab.insight.taps import Tap
from kd_lab.job.devices import Devices
from kd_lab.losses.common.loss import Loss
from kd_lab.losses.kd import KD
from kd_lab.models.common.weights import load_weights
from kd_lab.training.objective import Objective, Term
from kd_lab.types import Batch, Outputs
from tests.training.toys import CLASSES, FEATURES, Lines, Plain, Projected, toy_data, toy_recipe, train, weights

pytestmark = pytest.mark.slow

SGD = functools.partial(torch.optim.SGD, lr=0.1, momentum=0.9, weight_decay=1e-3)
ADAM = functools.partial(torch.optim.Adam, lr=0.01)
APART = 5e-6
"""Weights of about 1 were apart by 9.5e-7 at the most, half of the jobs by nothing (torch 2.15, gloo, AMD EPYC)."""


class Normed(nn.Module):
    """BatchNorm without a bias before it, whose gradient would be nothing but rounding; and a mean of what was seen,
    which the next batch is seen by."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Linear(FEATURES, 8, bias=False), nn.BatchNorm1d(8), nn.ReLU())
        self.head = nn.Linear(8, CLASSES)
        self.register_buffer("mean", torch.zeros(FEATURES))

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.head(self.body(inputs - self.mean))
        if self.training:
            self.mean.lerp_(inputs.mean(dim=0), 0.5)
        return logits


class OfLayers(Loss):
    """Of the body's end, by a projector of its own; nothing of it reaches the head."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(7)
        self.projector = nn.Linear(8, CLASSES)

    def compute(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        return (self.projector(student.features[0]) - teacher.logits).square().mean()


def projected() -> dict[str, Any]:
    terms = {"kd": Term(KD(temperature=2.0), 0.5), "parts": Term(Projected(), 0.3)}
    return {"teacher": Plain(5), "objective": Objective(terms, 0.4)}


def layers_alone() -> dict[str, Any]:
    objective = Objective({"layers": Term(OfLayers(), 1.0, student_slots=(0,))}, 0.0)
    return {"teacher": Plain(5), "objective": objective, "taps": (Tap("body"),)}


JOBS: dict[str, Callable[[], dict[str, Any]]] = {
    "labels": dict,
    "own parts": projected,
    "clipped": lambda: {**projected(), "recipe": {"optimizer": ADAM, "clip_norm": 0.1}},
    "accumulated": lambda: {"recipe": {"accumulate": 2, "clip_norm": 0.5, "no_decay": True}},
    "bf16": lambda: {"recipe": {"precision": "bf16-mixed"}},
    "layers alone": layers_alone,
    "synchronized": lambda: {"sync_batchnorm": True},
    "three processes": lambda: {**projected(), "processes": 3},
}


def trained(
    strategy: str, folder: Path, *, processes: int = 2, sync_batchnorm: bool = False, **job: Any
) -> tuple[dict[str, Tensor], Lines]:
    """The weights of network and losses, and the curves."""
    recipe = {"optimizer": SGD, "steps": 12, **job.pop("recipe", {})}
    network, objective, sink = Normed(), job.pop("objective", Objective({}, 1.0)), Lines(folder / strategy)
    train(
        network,
        data=toy_data(labelled=30 if processes == 3 else 28, validation=12),
        objective=objective,
        recipe=toy_recipe(**recipe),
        devices=Devices("cpu", processes, strategy, sync_batchnorm),
        sink=sink,
        threads=1,
        **job,
    )
    return weights(nn.ModuleList([network, objective])), sink


@pytest.mark.parametrize("job", JOBS)
def test_fsdp__trains_what_ddp_does(job: str, tmp_path: Path) -> None:
    """Weights of the network and of losses, statistics of BatchNorm, and the curves of training and validation."""
    ddp, curves = trained("ddp_spawn", tmp_path, **JOBS[job]())
    fsdp, others = trained("fsdp", tmp_path, **JOBS[job]())

    assert fsdp.keys() == ddp.keys()
    for name, value in ddp.items():
        torch.testing.assert_close(fsdp[name], value, rtol=0.0, atol=APART, msg=name)
    assert [step for step, _ in others.points] == [step for step, _ in curves.points]
    for (_, own), (_, theirs) in zip(others.points, curves.points, strict=True):
        assert own == pytest.approx(theirs, rel=0.0, abs=10 * APART)


class Pieces(pl.Callback):
    """Writes down how many numbers this process has of weights, gradients and optimizer state, after each batch."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        parameters = list(pl_module.parameters())
        kept = [one for state in trainer.optimizers[0].state.values() for one in state.values() if one.numel() > 1]
        gradients = [p.grad for p in parameters if p.grad is not None]
        held = [sum(own(one) for one in group) for group in (parameters, gradients, kept)]
        Path(self.folder, f"{trainer.global_rank}").write_text(json.dumps(held))


def own(tensor: Tensor) -> int:
    assert isinstance(tensor, DTensor)
    return tensor.to_local().numel()


def test_fsdp__a_process_holds_its_piece_between_two_steps(tmp_path: Path) -> None:
    network, objective = Normed(), projected()["objective"]
    count = sum(p.numel() for p in nn.ModuleList([network, objective]).parameters())
    callbacks = {"pieces": {"_target_": f"{__name__}.Pieces", "folder": str(tmp_path)}}
    recipe = toy_recipe(ADAM, steps=2)
    devices = Devices("cpu", 2, "fsdp")
    train(network, teacher=Plain(5), objective=objective, recipe=recipe, devices=devices, callbacks=callbacks)
    one, other = (json.loads((tmp_path / rank).read_text()) for rank in "01")
    assert [sum(pair) for pair in zip(one, other, strict=True)] == [count, count, 2 * count]
    assert max(one) < 1.3 * count  # three rows of a bias are two and one


def test_fsdp__best_weights_and_an_early_end_come_home(tmp_path: Path) -> None:
    recipe = toy_recipe(steps=30, early_stopping=2, schedule=still)
    network, path = Plain(), tmp_path / "best.safetensors"
    data = toy_data(labelled=24, validation=12)
    found = train(network, data=data, recipe=recipe, best=path, devices=Devices("cpu", 2, "fsdp"))
    assert (found[names.VAL_BEST_EPOCH], found[names.TRAIN_STOPPED_EPOCH]) == (1, 3)
    kept = Plain(5)
    load_weights(kept, path)
    for name, last in weights(network).items():
        torch.testing.assert_close(weights(kept)[name], last, rtol=0, atol=1e-4)


def still(step: int, *, base: float, total_steps: int) -> float:
    """Hardly a learning rate: the first epoch stays the best."""
    return 1e-7 * base
