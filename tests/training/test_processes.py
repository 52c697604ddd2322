"""Two real processes on gloo train as one does, and go on as if they had not been interrupted."""

import functools
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.multiprocessing.spawn import ProcessRaisedException

from kd_lab import names
from kd_lab.feeds.memory import MemoryFeed
from kd_lab.job.devices import Devices
from kd_lab.job.fit import _trainer
from kd_lab.job.plan import Plan
from kd_lab.losses.crd import CRD
from kd_lab.losses.kd import KD
from kd_lab.losses.ps_kd import PSKD
from kd_lab.strategies.common.strategy import Strategy
from kd_lab.strategies.data_free import DataFree
from kd_lab.strategies.look_ahead import LookAhead
from kd_lab.training.objective import Objective, Term
from kd_lab.training.states import States
from kd_lab.types import Batch, Outputs
from tests.strategies.trainings import training
from tests.training.toys import (
    CLASSES,
    FEATURES,
    ONE_PROCESS,
    Lines,
    Noisy,
    Plain,
    Projected,
    kd,
    same,
    toy_data,
    toy_recipe,
    train,
    weights,
)

pytestmark = pytest.mark.slow

TWO = Devices("cpu", 2, "ddp_spawn")
SYNCHRONIZED = Devices("cpu", 2, "ddp_spawn", sync_batchnorm=True)
SHARDED = Devices("cpu", 2, "fsdp")
END = "TEST_END"


class Normed(nn.Module):
    """BatchNorm, and nothing random."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(
            nn.Linear(FEATURES, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, CLASSES), nn.BatchNorm1d(CLASSES)
        )

    def forward(self, inputs: Tensor) -> Tensor:
        return self.layers(inputs)


def test_sync_batchnorm__two_processes_are_one() -> None:
    """The last batch of an epoch has three samples: of one alone, BatchNorm would have no variance."""
    data, recipe = toy_data(labelled=27), toy_recipe(steps=12)
    one, two = Normed(), Normed()

    measured = [train(one, data=data, recipe=recipe), train(two, data=data, recipe=recipe, devices=SYNCHRONIZED)]

    assert measured[0][names.COST_TRAIN_STEPS] == measured[1][names.COST_TRAIN_STEPS] == 12
    alone = weights(one)
    for name, value in weights(two).items():
        torch.testing.assert_close(value, alone[name], rtol=1e-4, atol=1e-5, msg=name)


class OfLogits(CRD):
    """Of what needs no layer."""

    layers = None

    def compute(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        own, theirs = (replace(one, features=(one.logits,)) for one in (student, teacher))
        return super().compute(own, theirs, batch)


class Ending(Noisy):
    """BatchNorm and dropout, until a step that the environment names."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def forward(self, inputs: Tensor) -> Tensor:
        self.seen += self.training
        if str(self.seen) == os.environ.get(END):
            raise RuntimeError("the end")
        return super().forward(inputs)


def run(
    sink: Lines, kept: States | None, best: Path, devices: Devices, ema: float | None = 0.7
) -> tuple[nn.Module, dict[str, float]]:
    data = toy_data(labelled=28, validation=12)
    torch.manual_seed(3)
    shapes: dict[str, Any] = {"student_shapes": ((CLASSES,),), "teacher_shapes": ((CLASSES,),)}
    terms = {
        "kd": Term(KD(temperature=2.0), 0.5),
        "parts": Term(Projected(), 0.3),
        "ps_kd": Term(PSKD(num_classes=CLASSES, targets=data.targets), 0.3),
        "crd": Term(OfLogits(**shapes, targets=data.targets, dim=4, negatives=5), 0.2),
    }
    network, objective = Ending(), Objective(terms, 0.4)
    measured = train(
        network,
        data=data,
        objective=objective,
        teacher=Plain(5),
        recipe=toy_recipe(functools.partial(torch.optim.Adam, lr=0.01), steps=15, clip_norm=0.5, ema=ema),
        devices=devices,
        sink=sink,
        every=4,
        states=kept,
        best=best,
        threads=1,
    )
    return nn.ModuleList([network, objective]), measured


@pytest.mark.parametrize(("devices", "ema"), [(TWO, 0.7), (SHARDED, None)], ids=["ddp", "fsdp"])
def test_states__two_processes_go_on_as_if_nothing_had_been(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, devices: Devices, ema: float | None
) -> None:
    whole, part, sink = (Lines(tmp_path / name) for name in ("whole", "part", "again"))
    kept, best, other = States(tmp_path / "states", [].append, 1e-9), tmp_path / "best", tmp_path / "whole_best"
    uninterrupted, measured = run(whole, None, other, devices, ema)

    monkeypatch.setenv(END, "11")
    with pytest.raises(ProcessRaisedException, match="the end"):
        run(part, kept, best, devices, ema)
    assert [int(file.name.split("-")[1]) for file in kept._files(kept.folder)] == [10, 8]
    best.unlink()
    monkeypatch.delenv(END)
    said: list[str] = []
    kept.tell = said.append
    resumed, again = run(sink, kept, best, devices, ema)

    assert said[0].startswith("toy: goes on at step 10 of 15, from a state of ")
    assert same(weights(resumed), weights(uninterrupted))
    assert sink.points == whole.points
    assert best.read_bytes() == other.read_bytes()
    of_time = {names.COST_TRAIN_WALL_S, names.COST_TRAIN_SAMPLES_PER_S, names.COST_TRAIN_PEAK_MEMORY_BYTES}
    assert {k: v for k, v in again.items() if k not in of_time} == {
        k: v for k, v in measured.items() if k not in of_time
    }

    run(Lines(), kept, best, ONE_PROCESS)
    assert said[1:] == ["toy: begins anew, its state is of other trainer.devices (2, now 1)"]
    assert [int(file.name.split("-")[1]) for file in kept._files(kept.folder)] == [14, 13]


def test_slurm__its_variables_do_not_make_two_processes_one_each(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A job of SLURM's has them, whoever starts the processes that train."""
    of_slurm = {"NTASKS": "1", "PROCID": "0", "LOCALID": "0", "NODEID": "0", "JOB_NAME": "a", "NTASKS_PER_NODE": "1"}
    for name, value in of_slurm.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    settings: Any = SimpleNamespace(trainer=SimpleNamespace(workers=0))
    job: Any = SimpleNamespace(taps=(), threads=1, recipe=toy_recipe())
    trainer = _trainer(Plan(settings, TWO, toy_data()), job, [], 1, str(tmp_path))
    assert trainer.world_size == 2


@pytest.mark.parametrize(
    "strategy",
    [DataFree("dafl"), DataFree("zskt"), DataFree("dfq", every=2), LookAhead(temperature=True)],
    ids=lambda one: getattr(one, "method", type(one).__name__),
)
def test_strategy__what_it_moves_beside_the_student_is_moved_in_two_processes_as_in_one(strategy: Strategy) -> None:
    """27 rows in batches of 9, which two processes share as 5 and 4."""
    data = toy_data(labelled=27, validation=18)
    recipe = toy_recipe(steps=6, batch_size=9)
    students = []
    for devices in (ONE_PROCESS, TWO):
        student, held_out = Plain(), MemoryFeed(data, data.validation, batch_size=9, total_steps=6, seed=1)
        objective = kd(hard_weight=0.0 if isinstance(strategy, DataFree) else 0.5)
        of = training(student, (Normed(),), objective=objective, data=data, validation=held_out, steps=6)
        train(student, data=data, recipe=recipe, devices=devices, step=strategy.step(of))
        students.append(weights(student))
    for name, value in students[0].items():
        torch.testing.assert_close(students[1][name], value, rtol=1e-3, atol=1e-4, msg=name)
