"""Tables as `pairs` returns them, of a few rows and no store."""

import numpy as np
import pandas as pd

from kd_lab import names
from kd_lab.analysis.columns import column

SHA = {"fingerprint": "d" * 64, "teacher_weights": "e" * 64}
SHARED = {
    "study": "s",
    "status": "FINISHED",
    "seed": 0,
    "dataset": "digits",
    "network": "mlp 32",
    "loss": "kd",
    "teacher_run": "t",
    "baseline_run": "b",
    "sweep": None,
    "machine": "AMD EPYC, threads=1, processes=1",
    "code": None,
    "test_samples": None,
    "teacher_network": "3 x cnn",
    **SHA,
}
STEPS = column("student", names.COST_TRAIN_STEPS)


def table(accuracy, *, alone=np.nan, teacher=np.nan, **columns):
    """One row per accuracy; a column is one value, or as many as there are rows; `params.x` is written `params__x`."""
    size = len(accuracy)
    given = {name.replace("__", "."): value for name, value in columns.items()}
    frame = pd.DataFrame(SHARED | given, index=range(size))
    frame["student_run"] = [f"run{i}" for i in range(size)]
    frame["start_time"] = pd.to_datetime(range(size), unit="s")
    for role, values in (("student", accuracy), ("baseline", alone), ("teacher", teacher)):
        frame[column(role, names.TEST_ACCURACY_TOP1)] = values
    frame["seed"] = frame["seed"].astype("Int64")
    return frame


def seeds(arms, repetitions):
    """The seeds of so many arms one after the other: 0, 1, 0, 1 for two arms of two."""
    return [seed for _ in range(arms) for seed in range(repetitions)]


def each(values, repetitions):
    """Each value so many times: a, a, b, b."""
    return [value for value in values for _ in range(repetitions)]
