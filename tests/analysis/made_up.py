"""Tables as `kd_lab.analysis.comparison` makes them, with numbers that a test can choose."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from kd_lab import names
from kd_lab.analysis.columns import column

ALONE, TAUGHT = 0.90, 0.96
SIZE = {names.COST_PARAMS_TOTAL: 100.0, names.COST_MACS: 90.0, names.COST_LATENCY_MS_P50: 0.02}


def students(
    accuracy: Mapping[str, Sequence[float]],
    *,
    alone: Sequence[float] = (ALONE, ALONE, ALONE),
    dataset: str = "digits",
    network: str = "mlp 32",
    size: Mapping[str, float] = SIZE,
    **columns: object,
) -> pd.DataFrame:
    """One row for each arm and seed; all have one teacher, 100 times as large, and each seed has its student alone."""
    rows = []
    for arm, reached in accuracy.items():
        for seed, value in enumerate(reached):
            row = {
                "study": "digits",
                "student_run": f"{network} {arm} {seed}",
                "status": "FINISHED",
                "seed": seed,
                "dataset": dataset,
                "group": dataset,
                "network": network,
                "loss": arm.split()[0],
                "arm": arm,
                "teacher_run": f"teacher of {dataset}",
                "teacher_network": "3 x cnn",
                "teacher_weights": f"weights of {dataset}",
                "baseline_run": f"{network} alone {seed}",
                "start_time": pd.Timestamp("2026-01-01") + pd.Timedelta(seconds=len(rows)),
                column("student", names.TEST_ACCURACY_TOP1): value,
                column("student", names.TEST_AGREEMENT_TOP1): value - 0.01,
                column("baseline", names.TEST_ACCURACY_TOP1): alone[seed],
                column("baseline", names.TEST_AGREEMENT_TOP1): 0.88,
                column("teacher", names.TEST_ACCURACY_TOP1): TAUGHT,
            }
            for key, cost in size.items():
                row |= {column("student", key): cost, column("baseline", key): cost, column("teacher", key): 100 * cost}
            rows.append(row)
    return pd.DataFrame(rows).assign(**columns)


def arms(**of_arm: Mapping[str, object]) -> pd.DataFrame:
    """Rows of `Comparison.arms`, of which only what matters is given; `a_b` is called `a b`."""
    nothing = dict.fromkeys(("mean", "low", "high", "p_t", "p_wilcoxon", "p_holm"), np.nan)
    empty = nothing | {"wins": 0, "pairs": 0, "verdict": ""}
    start: dict[str, object] = {
        "group": "digits",
        "n": 5,
        "mean": np.nan,
        "sd": np.nan,
        "low": np.nan,
        "high": np.nan,
        "kd_arm": "",
    }
    for prefix in ("to_baseline", "to_kd"):
        start |= {f"{prefix}_{name}": value for name, value in empty.items()}
    return pd.DataFrame([start | {"arm": name.replace("_", " ")} | dict(given) for name, given in of_arm.items()])


def difference(prefix: str, mean: float, bounds: tuple[float, float], p: float, told: str) -> dict[str, object]:
    """The columns of one difference; `told` is the verdict and the wins, `better 4/5`."""
    verdict, wins = told.rsplit(" ", 1)
    won, pairs = map(int, wins.split("/"))
    low, high = bounds
    found = {"mean": mean, "low": low, "high": high, "p_holm": p, "verdict": verdict, "wins": won, "pairs": pairs}
    return {f"{prefix}_{name}": value for name, value in found.items()}


def copied(uri: str, folder: Path) -> str:
    """A store of one's own to write to: copying one takes no time, making one takes seconds."""
    shutil.copyfile(uri.removeprefix("sqlite:///"), folder / "mlflow.db")
    return f"sqlite:///{folder}/mlflow.db"


def drawn(figure) -> bool:
    """Layout problems and missing glyphs show only when a figure is drawn."""
    figure.draw_without_rendering()
    return True
