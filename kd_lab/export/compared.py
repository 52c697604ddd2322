"""How an exported network compares with PyTorch's: answers, size and latency, by the code that measures all."""

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor, nn

from kd_lab import names
from kd_lab.errors import UserError
from kd_lab.export.forms import Part, Source
from kd_lab.export.samples import difference
from kd_lab.job.report import ROWS
from kd_lab.job.settings import MeasureSettings
from kd_lab.measures.latency import latency
from kd_lab.measures.predict import predict
from kd_lab.measures.predictive import predictive
from kd_lab.types import Measurement

PYTORCH = "PyTorch"
"""What the network itself is called beside its forms."""
MEASURED = (
    names.TEST_ACCURACY_TOP1,
    names.TEST_SOURCE_AGREEMENT_TOP1,
    names.TEST_NLL_NATS,
    names.COST_WEIGHTS_BYTES,
    names.COST_LATENCY_MS_P50,
    names.COST_LATENCY_MS_P95,
)


class Answers(NamedTuple):
    """How its logits compare with PyTorch's.

    largest: the largest difference. scale: the largest of PyTorch's. same: for how many samples both say the same
    class, 0..1.
    """

    largest: float
    scale: float
    same: float


def compared(part: Part, source: Source) -> Answers:
    """Ask both the same: all samples at once, and the first ones alone, since a graph may keep the size of a batch."""
    held = source.samples.held
    expected, found = (predict(one, held, device="cpu") for one in (source.whole, part.network))
    few = source.samples.some(3)
    alone = difference(
        predict(source.whole, few, device="cpu", batch_size=1), predict(part.network, few, device="cpu", batch_size=1)
    )
    same = _same(expected, found) if len(found) == len(expected) else 0.0
    return Answers(max(difference(expected, found), alone), float(expected.abs().max()), same)


def checked(answers: Answers, source: Source, tolerance: float | None) -> str:
    """What was compared, in words; tolerance: in units of the largest logit or of 1, None where none is asked for.

    Raises:
        UserError: the answers differ by more than is allowed.
    """
    told = source.samples.told
    word = f"largest difference of a logit to PyTorch's {answers.largest:.2g} on {told}"
    if tolerance is None:
        return f"{word}; the same class for {answers.same:.2%}"
    allowed = tolerance * max(1.0, answers.scale)
    if not answers.largest <= allowed:
        raise UserError(
            f"tolerance={tolerance:g}: its logits differ from PyTorch's by up to {answers.largest:.2g} on {told}, more "
            f"than the {allowed:.2g} allowed; nothing was written: choose another format, or a larger tolerance"
        )
    return f"{word} ({allowed:.2g} allowed)"


def measured(parts: list[Part], source: Source, settings: MeasureSettings) -> dict[str, Measurement]:
    """What PyTorch's network and each form answer to the test part, where that is there, and what they cost, by name.

    Size in bytes, and latency on the CPU. Of a form also for how many samples it says the class that PyTorch's says.
    """
    with source.stored.opened(source.weights) as path:
        size = path.stat().st_size
    given = [(PYTORCH, source.whole, size), *((one.name, one.network, one.file.stat().st_size) for one in parts)]
    found: dict[str, Measurement] = {}
    expected: Tensor | None = None
    for name, network, size in given:
        own: Measurement = {names.COST_WEIGHTS_BYTES: size}
        if source.samples.test is not None:
            said = predict(network, source.samples.test, device="cpu", batch_size=settings.predict_batch)
            own |= predictive(said, source.samples.test.targets)
            if expected is not None:
                own[names.TEST_SOURCE_AGREEMENT_TOP1] = _same(expected, said)
            expected = said if expected is None else expected
        found[name] = own | _timed(network, source, settings)
    return found


def _same(expected: Tensor, found: Tensor) -> float:
    """For how many samples both say the same class, 0..1."""
    return float((expected.argmax(dim=1) == found.argmax(dim=1)).double().mean())


def _timed(network: nn.Module, source: Source, settings: MeasureSettings) -> Measurement:
    return latency(
        network,
        source.samples.some(settings.throughput_batch),
        device="cpu",
        threads=source.threads,
        warmup=settings.latency_warmup,
        runs=settings.latency_runs,
    )


def rows(every: Mapping[str, Measurement]) -> list[list[str]]:
    """A header, and what was measured, as a table prints it."""
    found_of_all = [
        [label, *(form(found[key]) if key in found else "-" for found in every.values())]
        for label, key, form in ROWS
        if key in MEASURED and any(key in found for found in every.values())
    ]
    return [["", *every], *found_of_all]


def where(source: Source) -> str:
    """On what and how the table was measured."""
    test = source.samples.test
    on = "" if test is None else f"Answers to the {len(test):,} test samples; "
    threads = f"{source.threads} thread{'s' if source.threads > 1 else ''}"
    return f"{on}latency of one sample, preparation included, on the CPU with {threads}."
