"""One network, measured: the same code for teacher, baseline and student, on the test part and on this device.

What cannot be measured (no memory, answers that are not finite) is told by its name, and costs nothing else.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kd_lab import names
from kd_lab.insight.int8 import layers
from kd_lab.job.console import busy
from kd_lab.job.devices import Devices
from kd_lab.job.settings import MeasureSettings
from kd_lab.measures.cost import macs, parameters, weights_bytes
from kd_lab.measures.fidelity import fidelity
from kd_lab.measures.int8 import int8_accuracy, int8_bytes
from kd_lab.measures.latency import latency
from kd_lab.measures.predict import predict
from kd_lab.measures.predictive import predictive
from kd_lab.models.common.fitted import Fitted
from kd_lab.types import Data, Measurement

FAILURES = (RuntimeError, ValueError, MemoryError, NotImplementedError)
"""What a network, or a device without memory, raises; an interruption is none of them."""


@dataclass(frozen=True)
class Bench:
    """On what, where and how networks are measured."""

    data: Data
    devices: Devices
    settings: MeasureSettings


@dataclass(frozen=True)
class Measured:
    """What was measured, and the test logits [N, K] that figures and a student's fidelity are made from.

    failed: what could not be measured, to the reason. Without the answers to the test part there are no logits.
    """

    measurement: Measurement
    logits: Tensor
    failed: dict[str, str]

    @property
    def has_answers(self) -> bool:
        """Whether the answers to the test part were measured, without which a network cannot be compared."""
        return names.TEST_ACCURACY_TOP1 in self.measurement

    def reasons(self) -> str:
        """`latency: out of memory; MACs: ...`, or `nothing`."""
        return "; ".join(f"{what}: {why}" for what, why in self.failed.items()) or NOTHING


NOTHING = "nothing"
"""What is left to be measured of a run that is whole."""


MOST_REMEMBERED = 16
_remembered: dict[object, Measured] = {}


def known(bench: Bench, facts: object) -> Measured | None:
    """What this process measured of a network on a bench like this one; facts: which network."""
    key = _key(bench, facts)
    found = _remembered.pop(key, None)
    if found is not None:
        _remembered[key] = found  # the latest again
    return found


def remember(bench: Bench, facts: object, measured: Measured) -> None:
    """For `known`; what failed is tried again, and what was not asked for longest is forgotten."""
    if measured.failed:
        return
    _remembered[_key(bench, facts)] = measured
    if len(_remembered) > MOST_REMEMBERED:
        del _remembered[next(iter(_remembered))]


def _key(bench: Bench, facts: object) -> object:
    return bench.data.fingerprint, repr(bench.devices), repr(bench.settings), torch.get_num_threads(), facts


def measure(
    bench: Bench,
    network: nn.Module,
    *,
    precision: str,
    teacher_logits: Tensor | None = None,
    label: str = "network",
    costs: bool = True,
) -> Measured:
    """Predictive quality, fidelity to the teacher (where there is one) and the cost of running it.

    Args:
        bench: data, device and settings.
        network: it is moved to the device and stays there.
        precision: of its answers; latency is measured in float32.
        teacher_logits: [N, K] on the test part.
        label: what the spinner calls it.
        costs: whether what running it costs is measured too, which does not follow from its weights.
    """
    data, device = bench.data, bench.devices.main
    found: Measurement = {}
    failed: dict[str, str] = {}
    logits = torch.empty(0)

    def attempt(what: str, question: Callable[[], Measurement]) -> None:
        try:
            found.update(question())
        except FAILURES as error:
            failed[what] = " ".join(str(error).split())[:300] or type(error).__name__

    def answers() -> Measurement:
        nonlocal logits
        rows, batch = data.rows(data.test), bench.settings.predict_batch
        said = predict(network, rows, device=device, precision=precision, batch_size=batch)
        quality = predictive(said, data.targets[data.test])
        logits = said
        return quality

    with busy(f"measuring the {label}"):
        attempt("answers to the test part", answers)
        if teacher_logits is not None and len(logits):
            attempt("fidelity", lambda: fidelity(logits, teacher_logits, data.targets[data.test]))
        if costs and not isinstance(network, Fitted):  # it has neither
            attempt("parameters", lambda: parameters(network))
            attempt("MACs", lambda: macs(network, data.example(1)))
        if costs:
            attempt("size", lambda: weights_bytes(network))
        if costs and bench.settings.int8 and layers(network):
            attempt("int8", lambda: int8(bench, network))
    if costs:
        attempt("latency", lambda: timed(bench, network))  # a spinner's thread would be timed too
    return Measured(found, logits, failed)


def int8(bench: Bench, network: nn.Module) -> Measurement:
    """Its accuracy and size in int8, with ranges that it learned, or that the student's samples make."""
    data = bench.data
    test, seen = data.rows(data.test), data.rows(data.transfer)
    batch = bench.settings.predict_batch
    return int8_accuracy(network, test, seen, device=bench.devices.main, batch_size=batch) | int8_bytes(network)


def timed(bench: Bench, network: nn.Module) -> Measurement:
    """Latency and throughput on this device."""
    settings, device = bench.settings, bench.devices.main
    return latency(
        network.to(device),
        bench.data.example(settings.throughput_batch),
        device=device,
        threads=settings.threads,
        warmup=settings.latency_warmup,
        runs=settings.latency_runs,
    )


def runtime(bench: Bench) -> dict[str, str]:
    """Where the costs were measured, as tags beside the numbers."""
    device = bench.devices.main
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    return {
        names.TAG_DEVICE: name,
        names.TAG_PROCESSES: str(bench.devices.count),
        names.TAG_THREADS: str(bench.settings.threads or torch.get_num_threads()),
        names.TAG_DATA_FINGERPRINT: bench.data.fingerprint,
        names.TAG_TEST_SAMPLES: str(len(bench.data.test)),
    }
