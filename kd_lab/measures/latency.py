"""How long a network takes: one sample, and many samples per second."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from kd_lab import names
from kd_lab.inputs import Inputs, call, count, each, eval_mode, moved
from kd_lab.types import Measurement

THROUGHPUT_BUDGET_S = 0.1
"""Throughput batches stop after this many seconds per repetition: a large network on a CPU needs that for one."""


def latency(
    module: nn.Module,
    example: Inputs,
    *,
    device: torch.device | str,
    threads: int | None = None,
    warmup: int = 20,
    runs: int = 100,
    repetitions: int = 3,
    clock: Callable[[], float] = time.perf_counter,
) -> Measurement:
    """p50 and p95 of one sample in ms, and samples per second of many; each the median of repetitions.

    The input already lies on the device, the device is waited for at both ends of every run, and the module is in
    eval mode. It is moved to `device` and stays there. Device, threads and batch size belong beside
    the numbers.

    Args:
        module: inputs to logits.
        example: real samples [B, ...] as the network is given them, as many as are to be given at once for throughput;
            the first is the one sample.
        device: where it runs.
        threads: CPU threads during the measurement; None leaves them.
        warmup: runs that are not timed, before each kind of measurement.
        runs: timed runs of one sample per repetition; at most as many batches for throughput.
        repetitions: how often this is done.
        clock: seconds; for tests.

    Raises:
        ValueError: a count below 1 (warm-up: below 0).
    """
    counts = {
        "runs": runs,
        "repetitions": repetitions,
        "threads": 1 if threads is None else threads,
    }
    for name, given in counts.items():
        if given < 1:
            raise ValueError(f"Expected `{name}` to be at least 1, but got {given}.")
    if warmup < 0:
        raise ValueError(f"Expected `warmup` to be at least 0, but got {warmup}.")
    target = torch.device(device)
    module.to(target)
    many = moved(example, target)
    one, batch_size = each(many, lambda tensor: tensor[:1]), count(many)
    with eval_mode(module), torch.inference_mode(), torch_threads(threads):
        _time(module, one, target, clock, runs=warmup)
        singles = [_time(module, one, target, clock, runs=runs) for _ in range(repetitions)]
        _time(module, many, target, clock, runs=warmup, budget_s=THROUGHPUT_BUDGET_S)
        batches = [
            _time(module, many, target, clock, runs=runs, budget_s=THROUGHPUT_BUDGET_S) for _ in range(repetitions)
        ]
    p50, p95 = (1000.0 * float(np.median([np.percentile(s, q) for s in singles])) for q in (50, 95))
    throughput = float(np.median([batch_size * len(b) / sum(b) for b in batches]))
    return {
        names.COST_LATENCY_MS_P50: p50,
        names.COST_LATENCY_MS_P95: p95,
        names.COST_THROUGHPUT: throughput,
    }


def _time(
    module: nn.Module,
    inputs: Inputs,
    device: torch.device,
    clock: Callable[[], float],
    *,
    runs: int,
    budget_s: float = float("inf"),
) -> list[float]:
    """Seconds of each forward pass; ends after `runs`, or sooner once `budget_s` is spent."""
    synchronize = torch.accelerator.synchronize if device.type != "cpu" else _nothing
    seconds: list[float] = []
    spent = 0.0
    while len(seconds) < runs and spent < budget_s:
        synchronize(device)
        start = clock()
        call(module, inputs)
        synchronize(device)
        seconds.append(clock() - start)
        spent += seconds[-1]
    return seconds


def _nothing(_: torch.device) -> None:
    """The CPU is done when the call returns."""


@contextmanager
def torch_threads(threads: int | None) -> Iterator[None]:
    """So many of them meanwhile; None leaves them."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
