"""The columns of the tables that `kd_lab.analysis.runs` reads.

A metric has its key (`test/accuracy_top1`), in the table of `pairs` with the role before it
(`student.test/accuracy_top1`); a parameter is `params.` and its dotted name.
"""

import numpy as np
import pandas as pd

from kd_lab.names import BASELINE, OF_ALONE

IDENTITY = ["study", "run_id", "name", "role", "status", "seed", "dataset", "network", "loss"]
EXPERIMENT = ["experiment", "experiment_loss", "experiment_changed"]
"""Which one a student is of, by name; its loss, as tables of figures call it; what is otherwise, as it is typed."""
LINKS = ["teacher_run", "baseline_run", "sweep", "tried", "start_time", "remarks", *EXPERIMENT]
PROTOCOL = ["fingerprint", "teacher_weights", "machine", "code", "test_samples"]
PARAMS = "params."
SHARED = ", jobs at once="
OMITTED = f"{PARAMS}student.without_classes"
"""Classes that student and baseline never saw: a column wherever a run has it, also where all have the same."""


def column(role: str, key: str) -> str:
    """The name of one role's metric in the table of `pairs`."""
    return f"{role}.{key}"


def values(rows: pd.DataFrame, name: str) -> np.ndarray:
    """A column as float64, NaN where it is not there."""
    found: pd.Series = rows[name] if name in rows else pd.Series(np.nan, rows.index)
    return np.asarray(pd.to_numeric(found, errors="coerce"), dtype=np.float64)


def of_role(rows: pd.DataFrame, role: str, key: str) -> np.ndarray:
    """The values of one role's metric in the table of `pairs`."""
    return values(rows, column(role, key))


def each_run(students: pd.DataFrame, role: str, key: str = "") -> pd.DataFrame:
    """One row for each run of a role in the table of `pairs`, however many students refer to it.

    Args:
        students: rows of `pairs`.
        role: whose runs.
        key: the metric that is asked for. A baseline's fidelity is one to each teacher that its students had: there is
            a row for each of these.
    """
    run, name = f"{role}_run", column(role, key)
    if run not in students:
        return students.iloc[:0]
    found = students[students[run].notna()]
    if role == BASELINE and key in OF_ALONE and name in found:
        return found[found[name].notna()].drop_duplicates([run, "teacher_weights"])
    return found.drop_duplicates(run)
