"""The end of a sweep: what its jobs together say, on the console and on the sweep's parent run."""

import math
from collections.abc import Sequence

import pandas as pd
from rich.table import Table

from kd_lab import names
from kd_lab.analysis.runs import pairs, runs, sweep_summary
from kd_lab.run.console import console
from kd_lab.run.states import FAILED, KILLED, JobState
from kd_lab.tracking.run import Run
from kd_lab.tracking.store import Store

Row = dict[str, str]


def close_sweep(jobs: Sequence[JobState], title: str, status: str) -> None:
    """End the parent run of a sweep's jobs in one study, and tell the result.

    Found jobs count as those that ran; their runs stay children of the sweep that made them, and `jobs.csv` on the
    parent names the run of each. A sweep none of whose jobs began or was found has left nothing to close.
    """
    first = jobs[0]
    if not any(job.run_id or job.open_run for job in jobs):
        return
    store = Store.open(first.uri, first.study)
    for job in jobs:
        if job.lost and job.open_run is not None:
            store.close_lost(job.open_run, "KILLED" if job.state == KILLED else "FAILED", job.reason or None)
    parent = Run(store.uri, store.sweep_parent(first.sweep, title))
    rows = _rows(jobs)
    note = "\n".join(filter(None, [_markdown(rows) if rows else "", _failures(jobs)]))
    parent.log_text(note, names.ARTIFACT_REPORT)
    parent.log_text(_csv(jobs), names.ARTIFACT_JOBS)
    traces = [f"{job.label}\n{job.trace}" for job in jobs if job.trace]
    if traces:
        parent.log_text("\n".join(traces), names.ARTIFACT_FAILED)
    parent.set_tags({names.TAG_NOTE: note})
    parent.finish(status)
    if rows:
        _print(rows, first.study)


def _rows(jobs: Sequence[JobState]) -> list[Row]:
    """One row per setting of the students that are done, whichever sweep made them."""
    done = {job.run_id for job in jobs if job.run_id}
    if not done:
        return []
    frame = runs(jobs[0].study, jobs[0].uri)
    return summary_rows(sweep_summary(pairs(frame[(frame["role"] != names.STUDENT) | frame["run_id"].isin(done)])))


def _failures(jobs: Sequence[JobState]) -> str:
    failed = [f"- {job.label or 'job'}: {job.reason}" for job in jobs if job.state == FAILED]
    return "\n".join(["Failed:", "", *failed, ""]) if failed else ""


def _csv(jobs: Sequence[JobState]) -> str:
    table = [
        {"job": j.label, "state": j.state, "student_run": j.run_id, "seconds": round(j.seconds, 1), "reason": j.reason}
        for j in jobs
    ]
    return str(pd.DataFrame(table).to_csv(index=False))


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
