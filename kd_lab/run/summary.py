"""The end of a sweep: what its jobs together say, on the console and on the sweep's parent run."""

import shlex
import tempfile
from pathlib import Path

from kd_lab import names
from kd_lab.analysis.comparison import compare
from kd_lab.analysis.page import page_of
from kd_lab.analysis.printed import markdown, show
from kd_lab.analysis.protocol import MIXABLE
from kd_lab.analysis.runs import pairs, runs
from kd_lab.errors import UserError
from kd_lab.run.console import busy, console
from kd_lab.tracking.run import Run
from kd_lab.tracking.store import Store

MAX_TOLD = 15
"""So many arms fit into a run's description."""


def close_sweep(uri: str, study: str, sweep_id: str, status: str) -> None:
    """End the sweep's parent run and tell the result; a sweep none of whose jobs began has left nothing to close."""
    try:
        frame = runs(study, uri)
    except UserError:
        return
    begun = frame[frame["sweep"] == sweep_id]
    if begun.empty:
        return
    store = Store.open(uri, study)
    parent = Run(uri, store.sweep_parent(sweep_id, ""))
    students = begun[begun["role"] == names.STUDENT]
    if (students["status"] == "FINISHED").any():
        # Whatever the user swept over is in one table, and the notes say what of it is not comparable.
        chosen = pairs(frame[(frame["role"] != names.STUDENT) | frame["run_id"].isin(students["run_id"])])
        comparison = compare(chosen, mix=MIXABLE)
        show(comparison, console(), study)
        parent.log_text(markdown(comparison, study), names.ARTIFACT_REPORT)
        parent.set_tags({names.TAG_NOTE: markdown(comparison, study, MAX_TOLD)})
        with tempfile.TemporaryDirectory() as folder, busy("drawing the page"):
            page = page_of(comparison, uri, Path(folder), f"kd-lab compare {shlex.quote(study)}", files=False)
            parent.log_file(page, names.ARTIFACT_PAGE)
    parent.finish(status)
