"""Tables as `pairs` and `compare` make them, with numbers that a test can choose, and no store."""

import shutil

import numpy as np
import pandas as pd

from kd_lab import names
from kd_lab.analysis.columns import column

ALONE, TAUGHT = 0.90, 0.96
SIZE = {names.COST_PARAMS_TOTAL: 100.0, names.COST_MACS: 90.0, names.COST_LATENCY_MS_P50: 0.02}
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
    "fingerprint": "d" * 64,
    "teacher_weights": "e" * 64,
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


def students(accuracy, *, alone=(ALONE, ALONE, ALONE), dataset="digits", network="mlp 32", size=SIZE, **columns):
    """By arm an accuracy for each seed; one teacher, 100 times as large, and a student alone for each seed."""
    arms, seeds = zip(*((arm, seed) for arm, reached in accuracy.items() for seed in range(len(reached))), strict=True)
    beside = {"alone": [alone[seed] for seed in seeds], "teacher": TAUGHT, "seed": seeds}
    frame = table([one for reached in accuracy.values() for one in reached], dataset=dataset, network=network, **beside)
    frame = frame.assign(
        arm=arms,
        loss=[arm.split()[0] for arm in arms],
        group=dataset,
        student_run=[f"{network} {arm} {seed}" for arm, seed in zip(arms, seeds, strict=True)],
        teacher_run=f"teacher of {dataset}",
        teacher_weights=f"weights of {dataset}",
        baseline_run=[f"{network} alone {seed}" for seed in seeds],
    )
    frame[column("student", names.TEST_AGREEMENT_TOP1)] = frame[column("student", names.TEST_ACCURACY_TOP1)] - 0.01
    frame[column("baseline", names.TEST_AGREEMENT_TOP1)] = 0.88
    for key, cost in size.items():
        for role, factor in (("student", 1), ("baseline", 1), ("teacher", 100)):
            frame[column(role, key)] = factor * cost
    return frame.assign(**columns)


def arms(**of_arm):
    """Rows of `Comparison.arms`, of which only what matters is given; `a_b` is called `a b`."""
    empty = dict.fromkeys(("mean", "low", "high", "p_t", "p_wilcoxon", "p_holm"), np.nan)
    empty |= {"wins": 0, "pairs": 0, "verdict": ""}
    start = {"group": "digits", "n": 5, "kd_arm": ""} | dict.fromkeys(("mean", "sd", "low", "high"), np.nan)
    for prefix in ("to_baseline", "to_kd"):
        start |= {f"{prefix}_{name}": value for name, value in empty.items()}
    return pd.DataFrame([start | {"arm": name.replace("_", " ")} | dict(given) for name, given in of_arm.items()])


def difference(prefix, mean, bounds, p, told):
    """The columns of one difference; `told` is the verdict and the wins, `better 4/5`."""
    verdict, wins = told.rsplit(" ", 1)
    won, pairs = map(int, wins.split("/"))
    low, high = bounds
    found = {"mean": mean, "low": low, "high": high, "p_holm": p, "verdict": verdict, "wins": won, "pairs": pairs}
    return {f"{prefix}_{name}": value for name, value in found.items()}


def copied(uri, folder):
    """A store of one's own to write to: copying one takes no time, making one takes seconds."""
    shutil.copyfile(uri.removeprefix("sqlite:///"), folder / "mlflow.db")
    return f"sqlite:///{folder}/mlflow.db"


def drawn(figure):
    """Layout problems and missing glyphs show only when a figure is drawn."""
    figure.draw_without_rendering()
    return True


def seeds(arms, repetitions):
    """The seeds of so many arms one after the other: 0, 1, 0, 1 for two arms of two."""
    return [seed for _ in range(arms) for seed in range(repetitions)]


def each(values, repetitions):
    """Each value so many times: a, a, b, b."""
    return [value for value in values for _ in range(repetitions)]
