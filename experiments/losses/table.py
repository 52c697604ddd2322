"""The table of the study: `python experiments/losses/table.py STUDY [--uri URI]`, run where the sweep was run.

One row per loss: accuracy on the test part over seeds, the paired difference to the student alone and to plain kd with
a bootstrap interval, and a verdict. A difference is called better or worse where the paired t-test, corrected after
Holm over the losses of the table, stays below 0.05; otherwise it is not distinguishable.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from kd_lab import names
from kd_lab.analysis.runs import column, pairs, runs
from kd_lab.analysis.statistics import bootstrap_interval
from kd_lab.names import BASELINE, STUDENT, TEACHER

ACCURACY = names.TEST_ACCURACY_TOP1
LEVEL = 0.05


def main() -> None:
    """Print the Markdown table, write every seed's numbers to STUDY.csv."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study")
    parser.add_argument("--uri", default="sqlite:///mlflow.db")
    options = parser.parse_args()
    frame = named(pairs(runs(options.study, options.uri)))
    done = frame[frame["status"] == "FINISHED"].sort_values("start_time").drop_duplicates(["loss", "seed"], keep="last")
    by_seed(done).to_csv(Path(__file__).parent / f"{options.study}.csv", index=False)
    print(markdown(done))


def named(frame: pd.DataFrame) -> pd.DataFrame:
    """The losses of z-scored logits are arms of their own: `kd z`."""
    scored = (frame.filter(regex=r"\.standardize$") == "true").any(axis="columns")
    return frame.assign(loss=frame["loss"].where(~scored, frame["loss"] + " z"))


def by_seed(done: pd.DataFrame) -> pd.DataFrame:
    """What the table is made of, one row per loss and seed."""
    kept = {
        "teacher_accuracy": column(TEACHER, ACCURACY),
        "alone_accuracy": column(BASELINE, ACCURACY),
        "accuracy": column(STUDENT, ACCURACY),
        "agreement": column(STUDENT, names.TEST_AGREEMENT_TOP1),
        "kl_nats": column(STUDENT, names.TEST_KL_NATS),
        "nll_nats": column(STUDENT, names.TEST_NLL_NATS),
        "ece": column(STUDENT, names.TEST_ECE),
        "params": column(STUDENT, names.COST_PARAMS_TOTAL),
        "train_steps": column(STUDENT, names.COST_TRAIN_STEPS),
        "train_s": column(STUDENT, names.COST_TRAIN_WALL_S),
    }
    numbers = pd.DataFrame({name: done[key] for name, key in kept.items()}).round(5)
    return pd.concat([done[["loss", "seed"]], numbers], axis="columns").sort_values(["loss", "seed"])


def markdown(done: pd.DataFrame) -> str:
    """One row per loss, the most accurate first."""
    rows = by_seed(done).set_index("seed")
    kd = rows[rows["loss"] == "kd"]["accuracy"]
    arms = {str(loss): arm for loss, arm in rows.groupby("loss")}
    to_alone = {loss: arm["accuracy"] - arm["alone_accuracy"] for loss, arm in arms.items()}
    to_kd = {loss: (arm["accuracy"] - kd).dropna() for loss, arm in arms.items() if loss != "kd"}
    p_alone, p_kd = holm({k: p_value(v) for k, v in to_alone.items()}), holm({k: p_value(v) for k, v in to_kd.items()})
    header = [
        "loss",
        "n",
        "accuracy, %",
        "to alone, points",
        "",
        "to kd, points",
        "",
        "agreement, %",
        "NLL",
        "ECE, %",
        "steps",
    ]
    lines = [f"| {' | '.join(header)} |", f"|{' --- |' * len(header)}"]
    for loss, arm in sorted(arms.items(), key=lambda item: -item[1]["accuracy"].mean()):
        cells = [loss, str(len(arm)), spread(arm["accuracy"])]
        cells += [difference(to_alone[loss]), verdict(to_alone[loss], p_alone[loss])]
        cells += [difference(to_kd[loss]), verdict(to_kd[loss], p_kd[loss])] if loss in to_kd else ["", ""]
        cells += [
            f"{100 * arm['agreement'].mean():.1f}",
            f"{arm['nll_nats'].mean():.3f}",
            f"{100 * arm['ece'].mean():.1f}",
        ]
        cells.append(f"{arm['train_steps'].mean():.0f}")
        lines.append(f"| {' | '.join(cells)} |")
    first = rows.iloc[0]
    alone = spread(rows.reset_index().drop_duplicates("seed")["alone_accuracy"])
    return "\n".join([f"Teacher {100 * first['teacher_accuracy']:.2f} %, student alone {alone} %.", "", *lines])


def spread(values: pd.Series) -> str:
    """Mean and sample standard deviation, in percent."""
    return f"{100 * values.mean():.2f} ± {100 * values.std(ddof=1):.2f}"


def difference(values: pd.Series) -> str:
    """Mean of the paired differences with its bootstrap interval, in points."""
    low, high = bootstrap_interval(values.to_numpy(dtype=np.float64))
    return f"{100 * values.mean():+.2f} [{100 * low:+.2f}, {100 * high:+.2f}]"


def p_value(values: pd.Series) -> float:
    """Of the paired t-test; 1 where every difference is the same 0."""
    if len(values) < 2:
        return 1.0
    spread_of_them = float(values.std(ddof=1))
    if spread_of_them == 0:
        return 1.0 if float(values.mean()) == 0 else 0.0
    return float(stats.ttest_1samp(values, 0.0).pvalue)


def holm(found: dict[str, float]) -> dict[str, float]:
    """Holm 1979: the smallest times their number, the next times one less, and so on, never falling."""
    corrected, worst = {}, 0.0
    for rank, (name, p) in enumerate(sorted(found.items(), key=lambda item: item[1])):
        worst = max(worst, min(1.0, p * (len(found) - rank)))
        corrected[name] = worst
    return corrected


def verdict(values: pd.Series, p: float) -> str:
    """In words."""
    if p >= LEVEL:
        return "not distinguishable"
    return "better" if values.mean() > 0 else "worse"


if __name__ == "__main__":
    main()
