import copy
import io
import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from kd_lab.losses.ps_kd import PSKD
from kd_lab.schedules.constant import constant
from kd_lab.training.objective import Objective, Term
from kd_lab.types import UNLABELLED, Batch, Outputs
from tests.contracts.loss_cases import leaves, noise
from tests.contracts.plugins import settings
from tests.reference import arrays
from tests.reference.losses.ps_kd import first_memory, next_memory, reference

COMPARED_HERE = True  # the suite knows no second step
SAMPLES, CLASSES = 12, 4  # 1/4 is exact in float32
TARGETS = torch.tensor([0, 1, 2, 3, 0, UNLABELLED, 0, UNLABELLED, 2, 3, 3, 1])
REFUSED = [
    ({"alpha": -0.1}, r"Expected `alpha` to be from 0 to 1, but got -0\.1\."),
    ({"alpha": 1.5}, r"Expected `alpha` to be from 0 to 1, but got 1\.5\."),
]


def made(alpha: float = 0.8) -> PSKD:
    return PSKD(num_classes=CLASSES, targets=TARGETS, alpha=alpha).double()


def seen(index: Tensor) -> Batch:
    return Batch(torch.zeros(len(index), 1), TARGETS[index], index)


def epochs(count: int, size: int = 5) -> list[tuple[int, Tensor]]:
    """The steps of so many epochs: every sample once in each, in another order, in batches of different sizes."""
    generator = torch.Generator().manual_seed(3)
    orders = [torch.randperm(SAMPLES, generator=generator) for _ in range(count)]
    return list(enumerate(index for order in orders for index in order.split(size)))


def no_teacher(rows: int) -> arrays.Outputs:
    return arrays.Outputs(np.zeros((rows, CLASSES)))


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.8, 1.0])
def test_ps_kd__value_gradient_and_memory_are_the_references_over_three_epochs(alpha: float) -> None:
    loss, memory = made(alpha), first_memory(TARGETS.numpy(), CLASSES)
    rng = np.random.default_rng(0)

    for step, index in epochs(3):
        student = leaves(Outputs(noise(len(index), CLASSES, seed=step)))
        value = loss(student, None, seen(index))
        (gradient,) = torch.autograd.grad(value, student.logits)

        def of(logits: arrays.Array, index: Tensor = index, memory: arrays.Array = memory) -> float:
            said = arrays.Outputs(logits)
            targets, rows = TARGETS[index].numpy(), index.numpy()
            return reference(said, no_teacher(len(index)), targets, rows, {"memory": memory}, alpha=alpha)  # type: ignore[no-any-return]

        at = student.logits.detach().numpy()
        assert value.item() == pytest.approx(of(at), rel=1e-10)
        direction = rng.standard_normal(at.shape)
        expected = arrays.directional_derivative(of, at, direction)
        assert float(np.sum(gradient.numpy() * direction)) == pytest.approx(expected, rel=1e-9, abs=1e-14)
        memory = next_memory(memory, arrays.Outputs(at), index.numpy())
        np.testing.assert_allclose(loss.memory.numpy(), memory, rtol=1e-12)


def test_ps_kd__the_second_epoch_by_hand() -> None:
    """Label 0, alpha 1/2; first said 1/2, 1/4, 1/4, so the target is 3/4, 1/8, 1/8; then said 1/4, 1/4, 1/2.

    3/4 ln 4 + 1/8 ln 4 + 1/8 ln 2 = 15/8 ln 2.
    """
    loss = PSKD(num_classes=3, targets=torch.tensor([0]), alpha=0.5).double()
    batch = Batch(torch.zeros(1, 1), torch.tensor([0]), torch.tensor([0]))
    first, second = (torch.tensor([row], dtype=torch.float64).log() for row in ([0.5, 0.25, 0.25], [0.25, 0.25, 0.5]))

    loss(Outputs(first), None, batch)

    assert loss(Outputs(second), None, batch).item() == pytest.approx(15 / 8 * math.log(2), rel=1e-12)


def test_ps_kd__the_memory_is_float32_and_in_the_checkpoint() -> None:
    """Each twin goes on from what was remembered; none shares its memory with the first."""
    loss, fresh = (PSKD(num_classes=CLASSES, targets=TARGETS) for _ in range(2))
    index = torch.arange(SAMPLES)
    loss(Outputs(noise(SAMPLES, CLASSES, seed=0).float()), None, seen(index))
    kept = io.BytesIO()
    torch.save(Objective({"ps_kd": Term(loss)}, 0.0).state_dict(), kept)
    kept.seek(0)
    Objective({"ps_kd": Term(fresh)}, 0.0).load_state_dict(torch.load(kept, weights_only=True))

    assert loss.memory.dtype == torch.float32
    for twin in (fresh, copy.deepcopy(loss)):
        assert torch.equal(twin.memory, loss.memory)
        assert twin.memory.data_ptr() != loss.memory.data_ptr()


def test_ps_kd__its_schedule_rises_linearly_over_the_training() -> None:
    shares = settings("loss", "ps_kd")["schedules"]["alpha"]
    rise = [constant(t, base=0.8, total_steps=100, warmup_steps=shares["warmup_steps"]) for t in range(100)]

    assert rise == pytest.approx([0.8 * (t + 1) / 100 for t in range(100)])


# Two processes.


def of_one_process(rank: int, world: int, folder: str) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1"}
    store = dist.FileStore(f"{folder}/store", world)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=world)
    loss = made()
    for step, index in epochs(2):
        logits = noise(len(index), CLASSES, seed=step)
        piece, rows = logits.tensor_split(world)[rank], index.tensor_split(world)[rank]
        loss(Outputs(piece), None, seen(rows))
    torch.save(loss.memory, f"{folder}/memory{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_ps_kd__every_process_remembers_what_one_alone_would(tmp_path: Path) -> None:
    """Batches of 5 and 2 on two processes, the samples of each going elsewhere in the second epoch."""
    torch.multiprocessing.spawn(of_one_process, (2, str(tmp_path)), nprocs=2)
    alone = made()
    for step, index in epochs(2):
        alone(Outputs(noise(len(index), CLASSES, seed=step)), None, seen(index))

    for rank in (0, 1):
        torch.testing.assert_close(torch.load(tmp_path / f"memory{rank}.pt"), alone.memory, rtol=1e-14, atol=0)
