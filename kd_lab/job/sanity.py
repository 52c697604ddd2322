"""What to know before believing a result: a sentence for each thing that is amiss, none where all is well."""

from collections.abc import Iterator, Sequence

from kd_lab import names
from kd_lab.inputs import facts
from kd_lab.types import Data, InMemory, NetworkResult, RunResult

WIDE = 50.0
"""Inputs beyond this are not what networks are initialised for; images in 0..255 and raw measurements are."""
LOOKED_AT = 4096
"""So many samples show what the inputs span."""
READ = 128
"""So many of a dataset that is read when it is wanted."""


def remarks(result: RunResult, spans: Sequence[str]) -> list[str]:
    """The sentences, the gravest first; spans: those on the data and the teacher's weights, of `wide` and `misfits`."""
    return [*_collapsed(result), *spans, *_compared(result)]


def _collapsed(result: RunResult) -> Iterator[str]:
    for network in result.networks():
        found = network.measurement
        majority = found.get(names.TEST_MAJORITY)
        if majority is None:
            continue
        accuracy = _accuracy(network)
        if found[names.TEST_CLASSES_ANSWERED] == 1:
            yield f"The {_called(network)} answers one class only, whatever it sees: {accuracy:.2%}."
        elif accuracy <= majority:
            yield (
                f"The {_called(network)} ({accuracy:.2%}) is no better than always answering the commonest class "
                f"({majority:.2%})."
            )


def wide(data: Data) -> Iterator[str]:
    """A sentence for each input whose numbers no network is initialised for; reads samples."""
    count = LOOKED_AT if isinstance(data.source, InMemory) else READ
    seen = data.rows(data.transfer).batch(0, count, "cpu")
    spans = facts(seen, lambda one: (float(one.min()), float(one.max())) if one.is_floating_point() else (0.0, 0.0))
    for name, (low, high) in spans.items() if isinstance(spans, dict) else [("", spans)]:
        if max(-low, high) > WIDE:
            todo = ": dataset.standardize=true" if data.name == "arrays" else ""
            called = f"The inputs {name}" if name else "The inputs"
            yield f"{called} span {round(low):,} to {round(high):,}, not standardised{todo}."


def _compared(result: RunResult) -> Iterator[str]:
    teacher, alone, student = result.teacher, result.baseline, result.student
    if teacher is None:
        return
    if alone is not None and _accuracy(teacher) < _accuracy(alone):
        yield (
            f"The teacher ({_accuracy(teacher):.2%}) is worse than the student alone ({_accuracy(alone):.2%}): "
            "a better teacher first."
        )
    elif alone is not None and names.TEST_GAP_RECOVERED not in student.measurement:
        yield (
            f"The teacher is only {100 * (_accuracy(teacher) - _accuracy(alone)):.2f} points better than the student "
            "alone, too few on these test samples to tell a share of."
        )
    sizes = [network.measurement.get(names.COST_PARAMS_TOTAL) for network in (teacher, student)]
    if None not in sizes and sizes[1] >= sizes[0]:  # type: ignore[operator]
        yield f"The student is not smaller than its teacher ({sizes[1]:,.0f} and {sizes[0]:,.0f} parameters)."


def _accuracy(network: NetworkResult) -> float:
    return network.measurement[names.TEST_ACCURACY_TOP1]


def _called(network: NetworkResult) -> str:
    return "student alone" if network.role == names.BASELINE else network.role
