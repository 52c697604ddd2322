"""What a process remembers of networks that it measured."""

from typing import Any, cast

import pytest
import torch

from kd_lab.job import measured
from kd_lab.job.measured import Bench, Measured, known, remember
from tests.job.composed import plan


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(measured, "_remembered", {})
    return plan("teacher=mlp").bench


def of(accuracy: float, **failed: str) -> Measured:
    return Measured({"test/accuracy_top1": accuracy}, torch.empty(0), failed)


def test_known__what_is_asked_for_stays_and_the_rest_goes_by_age(bench: Bench) -> None:
    teacher, others = of(0.9), [of(0.1) for _ in range(40)]
    remember(bench, "teacher", teacher)
    for number, other in enumerate(others):
        remember(bench, number, other)
        assert known(bench, "teacher") is teacher
    assert known(bench, 39) is others[39]
    assert known(bench, 0) is None
    assert len(measured._remembered) == 16


def test_known__of_another_bench_or_with_failures__nothing(bench: Bench) -> None:
    remember(bench, "teacher", of(0.9))
    remember(bench, "ill", of(0.9, latency="no memory"))
    settings = bench.settings.model_copy(update={"latency_runs": 7})
    assert known(cast("Any", Bench(bench.data, bench.devices, settings)), "teacher") is None
    assert known(bench, "ill") is None
