import logging
import mmap
import time
import warnings
from types import SimpleNamespace

import psutil
import pytest
import torch

from kd_lab import names
from tests.training.toys import Plain, toy_data, toy_recipe, train

KEYS = {
    names.COST_TRAIN_WALL_S,
    names.COST_TRAIN_SAMPLES_PER_S,
    names.COST_TRAIN_STEPS,
    names.COST_TRAIN_PEAK_MEMORY_BYTES,
}


@pytest.mark.parametrize(
    ("steps", "samples"), [(1, 8), (3, 8 + 8 + 4), (4, 8 + 8 + 4 + 8), (8, 8 + 8 + 4 + 8 + 8 + 4 + 8 + 8)]
)
def test_cost__counts_steps_and_samples_with_the_small_last_batch(steps: int, samples: int) -> None:
    found = train(Plain(), data=toy_data(14, 6), recipe=toy_recipe(steps=steps))
    assert found.keys() == KEYS
    assert found[names.COST_TRAIN_STEPS] == steps
    assert found[names.COST_TRAIN_SAMPLES_PER_S] * found[names.COST_TRAIN_WALL_S] == pytest.approx(samples, rel=1e-9)


def test_cost__the_wall_time_is_that_of_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([100.0, 102.5])
    monkeypatch.setattr("kd_lab.training.callbacks.cost.time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    found = train(Plain(), recipe=toy_recipe(steps=5))  # 3 steps an epoch of 24: 8 samples in each of 5 steps
    assert found[names.COST_TRAIN_WALL_S] == 2.5
    assert found[names.COST_TRAIN_SAMPLES_PER_S] == 40 / 2.5


def test_cost__the_wall_time_lies_within_what_the_caller_measures() -> None:
    class Slow(Plain):
        def forward(self, inputs):
            time.sleep(0.02)
            return super().forward(inputs)

    started = time.perf_counter()
    found = train(Slow(), recipe=toy_recipe(steps=6))
    assert 6 * 0.02 <= found[names.COST_TRAIN_WALL_S] < time.perf_counter() - started


def test_cost__peak_memory_covers_what_a_step_allocates() -> None:
    class Large(Plain):
        def forward(self, inputs):
            # What other tests took in this process, and gave back, is under its peak; 200 MB beyond it for a moment.
            # From the system itself: a tensor's memory can be what the allocator still holds of those tests.
            beyond = int(small) - psutil.Process().memory_info().rss + 200_000_000
            torch.frombuffer(mmap.mmap(-1, beyond), dtype=torch.uint8).fill_(1)
            return super().forward(inputs)

    small = train(Plain(), recipe=toy_recipe(steps=2))[names.COST_TRAIN_PEAK_MEMORY_BYTES]
    large = train(Large(), recipe=toy_recipe(steps=2))[names.COST_TRAIN_PEAK_MEMORY_BYTES]
    assert large - small > 150e6


def test_cost__following_the_validation_part_is_no_part_of_the_training(monkeypatch):
    """A clock that a training step moves by 1 s and an answer to the validation part by 100 s."""
    now = [0.0]

    class Slow(Plain):
        def forward(self, inputs):
            now[0] += 1.0 if self.training else 100.0
            return super().forward(inputs)

    monkeypatch.setattr("kd_lab.training.callbacks.cost.time", SimpleNamespace(perf_counter=lambda: now[0]))
    data = toy_data(labelled=24, validation=6)

    found = train(Slow(), data=data, recipe=toy_recipe(steps=6, batch_size=8))  # two epochs

    assert now[0] == 206.0
    assert found[names.COST_TRAIN_WALL_S] == 6.0
    assert found[names.COST_TRAIN_SAMPLES_PER_S] == 8.0


def test_fit__leaves_warnings_and_loggers_as_they_were():
    filters, level = list(warnings.filters), logging.getLogger("pytorch_lightning").level
    train(Plain())
    assert warnings.filters == filters
    assert logging.getLogger("pytorch_lightning").level == level
