"""The result of a job in words and as a table: the same rows for the console and for the run's `report.md`."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from kd_lab import names
from kd_lab.outside.text import cell, markdown

if TYPE_CHECKING:
    from kd_lab.types import Measurement, RunResult

Format = Callable[[float], str]


def _percent(value: float) -> str:
    return f"{100 * value:.2f}"


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _kib(value: float) -> str:
    return f"{value / 1024:,.1f}"


def _fixed(digits: int) -> Format:
    return lambda value: f"{value:,.{digits}f}"


UNEQUAL = 1.5
"""Classes are unequal where the commonest one has so many times its share of the test part."""

ROWS: tuple[tuple[str, str, Format], ...] = (
    ("accuracy, %", names.TEST_ACCURACY_TOP1, _percent),
    ("accuracy in int8, %", names.TEST_INT8_ACCURACY_TOP1, _percent),
    ("balanced accuracy, %", names.TEST_ACCURACY_BALANCED, _percent),
    ("F1 (macro), %", names.TEST_F1_MACRO, _percent),
    ("AUROC (macro), %", names.TEST_AUROC_MACRO, _percent),
    ("agreement with the teacher, %", names.TEST_AGREEMENT_TOP1, _percent),
    ("agreement with PyTorch's, %", names.TEST_SOURCE_AGREEMENT_TOP1, _percent),
    ("KL to the teacher, nats", names.TEST_KL_NATS, _fixed(3)),
    ("NLL, nats", names.TEST_NLL_NATS, _fixed(3)),
    ("ECE (15 bins), %", names.TEST_ECE, _percent),
    ("gap recovered", names.TEST_GAP_RECOVERED, _fixed(2)),
    ("accuracy of it and its links together, %", names.TEST_ENSEMBLE_ACCURACY_TOP1, _percent),
    ("best epoch on validation", names.VAL_BEST_EPOCH, _count),
    ("its accuracy, %", names.of_best(names.TEST_ACCURACY_TOP1), _percent),
    ("parameters", names.COST_PARAMS_TOTAL, _count),
    ("MACs per sample", names.COST_MACS, _count),
    ("size, KiB", names.COST_WEIGHTS_BYTES, _kib),
    ("size in int8, KiB", names.COST_INT8_WEIGHTS_BYTES, _kib),
    ("latency p50, ms", names.COST_LATENCY_MS_P50, _fixed(3)),
    ("latency p95, ms", names.COST_LATENCY_MS_P95, _fixed(3)),
    ("training steps", names.COST_TRAIN_STEPS, _count),
    ("training time, s", names.COST_TRAIN_WALL_S, _fixed(1)),
    ("training time of all, s", names.COST_CHAIN_WALL_S, _fixed(1)),
)
"""Label (unit included), key, format: what a reviewer asks for first. Everything else is in MLflow."""


OF_UNEQUAL = (names.TEST_ACCURACY_BALANCED, names.TEST_F1_MACRO, names.TEST_AUROC_MACRO)
"""Shown where classes are two, or unequal: elsewhere they say what accuracy says."""


OF_CHAIN = (names.COST_CHAIN_WALL_S,)
"""Shown where a strategy trains more than teacher and student."""


def table(result: "RunResult") -> tuple[list[str], list[list[str]]]:
    """Header and rows of strings; a dash where a number does not exist for a role."""
    networks = result.networks()
    header = ["", *(n.role for n in networks)]
    unequal = _majority(result) * result.num_classes >= UNEQUAL or result.num_classes == 2
    hidden = (() if unequal else OF_UNEQUAL) + (() if result.links or result.peers else OF_CHAIN)
    shown = [row for row in ROWS if row[1] not in hidden]
    rows = [[label, *(_cell(n.measurement, key, form) for n in networks)] for label, key, form in shown]
    return header, [row for row in rows if any(cell != "-" for cell in row[1:])]


def _cell(measurement: "Measurement", key: str, form: Format) -> str:
    return form(measurement[key]) if key in measurement else "-"


def measured_on(result: "RunResult") -> str:
    """The test part, in so many words that an accuracy can be judged."""
    return f"{result.test_samples:,} test samples (commonest class {_majority(result):.1%})"


def _majority(result: "RunResult") -> float:
    return result.student.measurement.get(names.TEST_MAJORITY, 0.0)


def with_interval(accuracy: float, samples: int) -> str:
    """An accuracy, 0..1, with the exact binomial interval (Clopper, Pearson 1934) that so many test samples leave."""
    from scipy.stats import binomtest

    low, high = binomtest(round(accuracy * samples), samples).proportion_ci(0.95, method="exact")
    return f"{accuracy:.2%} on {samples:,} test samples (95% interval {low:.2%} to {high:.2%}, binomial)"


def verdict(result: "RunResult") -> str:
    """What was found, in one sentence; one seed is never more than one seed."""
    student = result.student.measurement[names.TEST_ACCURACY_TOP1]
    if result.baseline is None:
        if result.teacher is None:
            return f"The student, trained on hard labels, reaches {student:.2%}."
        teacher = result.teacher.measurement[names.TEST_ACCURACY_TOP1]
        return (
            f"The student reaches {student:.2%}, its teacher {teacher:.2%}; "
            "without a baseline nobody knows what distilling gained."
        )
    alone = result.baseline.measurement[names.TEST_ACCURACY_TOP1]
    points = 100 * (student - alone)
    if abs(points) < 0.005:
        told = f"The distilled student is as accurate as the same student alone ({student:.2%})"
    else:
        told = (
            f"The distilled student ({student:.2%}) is {abs(points):.2f} points {'more' if points > 0 else 'less'} "
            f"accurate than the same student alone ({alone:.2%})"
        )
    gap = result.student.measurement.get(names.TEST_GAP_RECOVERED)
    share = f" and recovers {gap:.2f} of the gap to its teacher" if gap is not None else ""
    return f"{told}{share}, on this one seed."


def steps_note(result: "RunResult") -> str | None:
    """A sentence where baseline and student did not take the same number of optimizer steps, else None."""
    if result.baseline is None:
        return None
    key = names.COST_TRAIN_STEPS
    alone, student = result.baseline.measurement.get(key), result.student.measurement.get(key)
    if alone is None or student is None or alone == student:
        return None
    return f"Not the same budget: {alone:,.0f} optimizer steps alone, {student:,.0f} distilled."


def report_markdown(result: "RunResult") -> str:
    """The report as it is kept on the student's run."""
    header, rows = table(result)
    lines = [verdict(result), "", f"On {measured_on(result)}.", ""]
    lines += [f"- {remark}" for remark in result.remarks] + [""] * bool(result.remarks)
    lines += [f"| {' | '.join(map(cell, header))} |", f"|{'---|' * len(header)}"]
    lines += [f"| {' | '.join(map(cell, row))} |" for row in rows]
    lines += ["", *(f"- {n.role}: run {n.run_id}{' (found again)' if n.reused else ''}" for n in result.all())]
    note = steps_note(result)
    return markdown("\n".join([*lines, *(["", note] if note else []), ""]))
