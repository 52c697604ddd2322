"""The end of a sweep: what its jobs together say, on the console and on the sweep's parent run."""

import shlex
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pandas as pd

from kd_lab import names
from kd_lab.analysis.columns import PARAMS
from kd_lab.analysis.comparison import Comparisons, compare_each
from kd_lab.analysis.page import page_of
from kd_lab.analysis.printed import markdown, show
from kd_lab.analysis.protocol import MIXABLE
from kd_lab.analysis.runs import pairs, runs
from kd_lab.errors import UserError
from kd_lab.job.console import busy
from kd_lab.job.describe import sweep_name
from kd_lab.outside.console import console
from kd_lab.outside.scratch import scratch
from kd_lab.outside.text import code, csv, line, visible
from kd_lab.outside.text import markdown as safe
from kd_lab.store.client import StoreAwayError, asked, away
from kd_lab.store.queries import by_local_id
from kd_lab.store.run import Run
from kd_lab.store.store import Store
from kd_lab.store.sync import bring_in, waiting_here
from kd_lab.sweep.members import Members, found_by
from kd_lab.sweep.searched import Searched
from kd_lab.sweep.states import FOUND, KILLED, JobState, by_reason

MAX_ARMS = 15
"""So many arms fit into a run's description."""


def close_sweep(jobs: Sequence[JobState], title: str, status: str) -> None:
    """End the parent run of a sweep's jobs in one study, and tell the result.

    Found jobs count as those that ran; their runs stay children of the sweep that made them, and `jobs.csv` on the
    parent names the run of each. A sweep none of whose jobs began or was found has left nothing to close.
    """
    first = jobs[0]
    if not any(job.run_id or job.open_run for job in jobs):
        return
    store = Store.open(first.uri, first.study, although_away=True)
    for job in jobs:
        if job.tried is not None and job.state == FOUND and job.run_id is not None:  # the others have it from the start
            store.tag(job.run_id, names.TAG_CONFIGURATIONS_TRIED, str(job.tried))
        if job.lost and job.open_run is not None:
            store.close_lost(job.open_run, "KILLED" if job.state == KILLED else "FAILED", job.reason or None)
    jobs = _brought(store, jobs)
    parent = Run(store.uri, store.sweep_parent(first.sweep, sweep_name(title)))
    try:
        _describe(parent, jobs, title, store)
    finally:
        parent.finish(status)
    for sentence in waiting_here(store.uri):
        console().print(sentence, style="yellow", soft_wrap=True)


def _brought(store: Store, jobs: Sequence[JobState]) -> Sequence[JobState]:
    """The jobs by the ids that the store has for their runs, once what waited here for it is there."""
    said = bring_in(store)
    for sentence in said:
        console().print(line(sentence), soft_wrap=True)
    if not said:
        return jobs

    def there(local_id: str | None) -> str | None:
        with suppress(StoreAwayError):
            found = asked(store.uri, lambda: by_local_id(store.uri, local_id or ""))
            return local_id if found is None else str(found.info.run_id)
        return local_id

    return [replace(job, run_id=there(job.run_id), open_run=there(job.open_run)) for job in jobs]


def _describe(parent: Run, every: Sequence[JobState], title: str, store: Store) -> None:
    """Print the comparison; the parent keeps it as artifacts, with the list of jobs, and the best of it as its note."""
    searched, members, jobs = Searched.of(every), Members.of(every), [job for job in every if not job.tries]
    if searched.trials:
        parent.log_text(searched.csv(), names.ARTIFACT_TRIALS)
    if members.turns:
        parent.log_text(members.csv(), names.ARTIFACT_MEMBERS)
        parent.log_figure(members.figure(), names.ARTIFACT_MEMBERS_FIGURE)
    if jobs:
        parent.log_text(_csv(jobs), names.ARTIFACT_JOBS)
    traces = [f"{job.label}\n{job.trace}" for job in every if job.trace]
    if traces:
        parent.log_text(visible("\n".join(traces)), names.ARTIFACT_FAILED)
    comparison = None
    try:
        frame = _frame(jobs)
        if frame is not None:
            store.show_columns(_swept(jobs, list(frame.columns)))
            comparison = _comparison(frame, jobs)
            show(comparison, console(), jobs[0].study)
    except UserError as error:  # the store lacks what the jobs have done: nothing of them is lost, or failed
        console().print(line(f"The jobs cannot be compared: {error}"), style="yellow", soft_wrap=True)
    command = f"Made by {code(shlex.join(['kd-lab', '-m', *shlex.split(title)[1:]]))}\n"
    parent.log_text(safe(f"{_report(comparison, every, None)}\n{command}"), names.ARTIFACT_REPORT)
    parent.set_tags({names.TAG_NOTE: safe(f"{_report(comparison, every, MAX_ARMS)}\n{command}")})
    if comparison is not None:
        _keep_page(parent, comparison, jobs[0].uri)


def _frame(jobs: Sequence[JobState]) -> pd.DataFrame | None:
    """The runs of the study; None where no job has one, or the store is away."""
    if not any(job.run_id for job in jobs):
        return None
    if (cause := away(jobs[0].uri)) is not None:
        console().print(f"The jobs cannot be compared: {jobs[0].uri} is away ({cause}).", style="yellow")
        return None
    return runs(jobs[0].study, jobs[0].uri)


def _swept(jobs: Sequence[JobState], columns: Sequence[str]) -> list[str]:
    """The parameters that the jobs were swept over, of those that differ: `loss.terms.kd.temperature`."""
    keys = dict.fromkeys(word.partition("=")[0] for job in jobs for word in job.label.split(" "))
    params = [name.removeprefix(PARAMS) for name in columns if name.startswith(PARAMS)]
    of_terms = {key.removeprefix("loss.") for key in keys if key.startswith("loss.")}
    return [
        param
        for param in params
        if param in keys or (param.startswith("loss.terms.") and param.split(".", 3)[-1] in of_terms)
    ]


def _comparison(frame: pd.DataFrame, jobs: Sequence[JobState]) -> Comparisons:
    """Of the students that are done, whichever sweep made them: in one table, whatever the user swept over.

    The notes say what of it is not comparable, and how many failed.
    """
    students = frame["run_id"].isin([job.run_id or job.open_run for job in jobs])
    mix = [key for key in MIXABLE if key != "machine"]  # times of different machines are nobody's wish
    return compare_each(pairs(frame[(frame["role"] != names.STUDENT) | students]), mix=mix)


def _keep_page(parent: Run, comparison: Comparisons, uri: str) -> None:
    with scratch() as folder, busy("drawing the page"):
        page = page_of(comparison, uri, Path(folder), "at the end of the sweep", files=False)
        parent.log_file(page, names.ARTIFACT_PAGE)


def _report(comparison: Comparisons | None, jobs: Sequence[JobState], most: int | None) -> str:
    told, _ = found_by(jobs)
    chosen = f"{told}\n" if told else ""
    compared = "" if comparison is None else markdown(comparison, jobs[0].study, most)
    return "\n".join(filter(None, [chosen, compared, _failures(jobs)]))


def _failures(jobs: Sequence[JobState]) -> str:
    failed = [
        line(f"- {'; '.join(job.label or 'job' for job in those)}: {reason}")
        for reason, those in by_reason(jobs).items()
    ]
    return "\n".join(["Failed:", "", *failed, ""]) if failed else ""


def _csv(jobs: Sequence[JobState]) -> str:
    table = [
        {"job": j.label, "state": j.state, "student_run": j.run_id, "seconds": round(j.seconds, 1), "reason": j.reason}
        for j in jobs
    ]
    return csv(pd.DataFrame(table))
