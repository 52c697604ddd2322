"""The arms of a comparison as cells: a value, for sorting and for machines, and the text that people read of it.

`kd_lab.analysis.printed` writes them for a terminal and in Markdown, `kd_lab.analysis.page_tables` for the page; a CSV
file has the values of `Comparison.arms` alone.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import pandas as pd

from kd_lab.analysis.columns import column, each_run
from kd_lab.analysis.published import COLUMN
from kd_lab.analysis.statistics import spread
from kd_lab.analysis.unit import Unit
from kd_lab.analysis.wording import DASH, fixed, number, p_value, percent
from kd_lab.names import TEACHER


class Cell(NamedTuple):
    """A number, or a word; and how it is written, a dash where there is none."""

    value: object
    text: str


class Cost(NamedTuple):
    """Of fidelity, calibration or cost: its key in `Comparison.arms`, what texts and pages call it, and its form.

    `told` explains the short name below a table of text, where that is needed.
    """

    key: str
    short: str
    name: str
    note: str
    form: Callable[[Any], str]
    told: str = ""


class Beside(NamedTuple):
    """A teacher, or a student alone: its name, how many runs, the mean of a metric over them."""

    name: str
    num_runs: int
    reached: str


def _three(value: Any) -> str:
    return fixed(value, 3)


def _whole(value: Any) -> str:
    return fixed(value, 0)


COSTS = [
    Cost(
        "gap_recovered",
        "gap",
        "gap recovered",
        "of the way to the teacher",
        fixed,
        "gap: share of the way from alone to the teacher",
    ),
    Cost("agreement", "agree, %", "agreement", "with the teacher, %", percent),
    Cost("kl", "KL", "KL", "to the teacher, nats", _three, "KL and NLL in nats"),
    Cost("nll", "NLL", "NLL", "nats", _three),
    Cost("ece", "ECE, %", "ECE", "15 bins, %", percent),
    Cost("params", "params", "parameters", "", _whole),
    Cost("macs", "MACs", "MACs", "per sample", _whole),
    Cost("latency", "ms", "latency", "one sample, ms", _three, "ms: latency of one sample, median"),
    Cost("train_wall_s", "train s", "training", "s", lambda value: fixed(value, 1)),
    Cost(
        "chain_wall_s",
        "all s",
        "training of all",
        "s, with teacher and links",
        lambda value: fixed(value, 1),
        "all s: training of the student and of all that stand behind it",
    ),
    Cost("samples_per_s", "samples/s", "training", "samples/s", _whole),
    Cost(
        "peak_memory_bytes",
        "MiB",
        "peak memory",
        "training, MiB; on a CPU of the whole process",
        lambda value: fixed(value, 0, 2.0**-20),
        "MiB: peak memory in training, on a CPU of the whole process",
    ),
]


def cells_of(arms: pd.DataFrame, metric: str) -> list[dict[str, Cell]]:
    """The cells of each arm, in their order.

    Args:
        arms: `Comparison.arms`.
        metric: `Comparison.metric`.

    Returns:
        By name: arm, group, kd_arm, n, mean (written with its sd), interval, published; behind `to_baseline_` and
        `to_kd_` each mean, interval, p (of the t-test, after Holm), wilcoxon, wins, verdict, pairs; the keys of COSTS.
    """
    return [_cells(arm, Unit(metric)) for arm in arms.to_dict(orient="records")]


def known_costs(arms: pd.DataFrame) -> list[Cost]:
    """Those that some arm has."""
    return [cost for cost in COSTS if cost.key in arms and arms[cost.key].notna().any()]


def beside(students: pd.DataFrame, role: str, metric: str) -> Iterator[Beside]:
    """The teachers, or the students alone, by name; each run counts once (`each_run`).

    Args:
        students: `Comparison.students`.
        role: teacher or baseline.
        metric: `Comparison.metric`.
    """
    unit, key = Unit(metric), column(role, metric)
    if key not in students:
        return
    known = each_run(students[students[key].notna()], role, metric)
    network = known["teacher_network" if role == TEACHER else "network"].astype(str)
    several = known["group"].nunique() > 1
    for (name, group), found in known[key].groupby([network, known["group"]]):
        called = f"teacher {name}" if role == TEACHER else f"{name} alone"
        over = spread(found.to_numpy(dtype=float))
        yield Beside(called + (f" ({group})" if several else ""), over.n, unit.with_sd(over.mean, over.sd))


def _cells(arm: Mapping[Any, Any], unit: Unit) -> dict[str, Cell]:
    found = {name: Cell(str(arm[name]), str(arm[name])) for name in ("arm", "group", "kd_arm")}
    found["n"] = Cell(arm["n"], str(int(arm["n"])))
    found["mean"] = Cell(arm["mean"], unit.with_sd(arm["mean"], arm["sd"]))
    found[COLUMN] = Cell(arm.get(COLUMN), unit.value(arm.get(COLUMN)))
    found["interval"] = Cell(arm["low"], unit.interval(arm["low"], arm["high"], signed=False))
    for prefix in ("to_baseline", "to_kd"):
        found |= {f"{prefix}_{name}": cell for name, cell in _gain(arm, prefix, unit).items()}
    return found | {cost.key: Cell(arm.get(cost.key), cost.form(arm.get(cost.key))) for cost in COSTS}


def _gain(arm: Mapping[Any, Any], prefix: str, unit: Unit) -> dict[str, Cell]:
    mean, low, high, p, wilcoxon, wins, pairs = (
        number(arm[f"{prefix}_{name}"]) for name in ("mean", "low", "high", "p_holm", "p_wilcoxon", "wins", "pairs")
    )
    verdict = str(arm[f"{prefix}_verdict"])
    return {
        "mean": Cell(mean, unit.signed(mean)),
        "interval": Cell(low, unit.interval(low, high)),
        "p": Cell(p, p_value(p)),
        "wilcoxon": Cell(wilcoxon, p_value(wilcoxon)),
        "wins": Cell(wins, f"{wins:.0f}/{pairs:.0f}" if pairs else DASH),
        "verdict": Cell(verdict, verdict or DASH),
        "pairs": Cell(pairs, f"{pairs:.0f}"),
    }
