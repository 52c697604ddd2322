"""The end of a sweep: what its jobs together say, on the console and on the sweep's parent run."""

import math

import pandas as pd
from rich.table import Table

from kd_lab import names
from kd_lab.analysis.runs import pairs, runs, sweep_summary
from kd_lab.errors import UserError
from kd_lab.run.console import console
from kd_lab.tracking.run import Run
from kd_lab.tracking.store import Store

Row = dict[str, str]


def close_sweep(uri: str, study: str, sweep_id: str, status: str) -> None:
    """End the sweep's parent run and tell the result; a sweep none of whose jobs began has left nothing to close."""
    try:
        frame = runs(study, uri)
    except UserError:
        return
    students = frame[(frame["sweep"] == sweep_id) & (frame["role"] == names.STUDENT)]
    begun = frame[frame["sweep"] == sweep_id]
    if begun.empty:
        return
    store = Store.open(uri, study)
    parent = Run(uri, store.sweep_parent(sweep_id, ""))
    finished = students[students["status"] == "FINISHED"]
    if not finished.empty:
        chosen = pairs(frame[(frame["role"] != names.STUDENT) | frame["run_id"].isin(finished["run_id"])])
        rows = summary_rows(sweep_summary(chosen))
        _print(rows, study)
        parent.log_text(_markdown(rows), names.ARTIFACT_REPORT)
        parent.set_tags({names.TAG_NOTE: _markdown(rows)})
    parent.finish(status)


def summary_rows(summary: pd.DataFrame) -> list[Row]:
    """One row per setting, as strings: accuracies in %, differences in points."""
    return [_row(record) for record in summary.to_dict(orient="records")]


def _row(record: dict[str, object]) -> Row:
    # A difference or an interval that does not exist (no baseline, one seed) is a dash.
    numbers = {k: float(v) for k, v in record.items() if isinstance(v, int | float)}
    setting = [str(record["network"]), str(record["loss"])]
    setting += [f"{k.removeprefix('params.')}={v}" for k, v in record.items() if k.startswith("params.")]
    pairs_counted = int(numbers["n_pairs"])
    return {
        "student": " ".join(setting),
        "n": str(int(numbers["n"])),
        "teacher, %": _spread(numbers, names.TEACHER),
        "alone, %": _spread(numbers, names.BASELINE),
        "distilled, %": _spread(numbers, names.STUDENT),
        "gain, points": _points(numbers["difference_mean"]),
        "95% interval": _interval(numbers["difference_low"], numbers["difference_high"]),
        "wins": f"{int(numbers['wins'])}/{pairs_counted}" if pairs_counted else "-",
    }


def _spread(numbers: dict[str, float], role: str) -> str:
    mean, sd = numbers[f"{role}_mean"], numbers[f"{role}_sd"]
    if math.isnan(mean):
        return "-"
    return f"{100 * mean:.2f}" + ("" if math.isnan(sd) else f" ± {100 * sd:.2f}")


def _points(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:+.2f}"


def _interval(low: float, high: float) -> str:
    return "-" if math.isnan(low) else f"[{100 * low:+.2f}, {100 * high:+.2f}]"


def _print(rows: list[Row], study: str) -> None:
    table = Table(title=f"study {study}: accuracy on the test part, mean ± sample sd over n jobs", title_justify="left")
    for name in rows[0]:
        table.add_column(name, justify="left" if name == "student" else "right")
    for row in rows:
        table.add_row(*row.values())
    console().print(table)


def _markdown(rows: list[Row]) -> str:
    header = list(rows[0])
    lines = [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row.values())} |" for row in rows), ""])
