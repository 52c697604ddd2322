"""Does a ranking of losses at minutes' scale agree with the published CIFAR-100 table?

    kd-lab compare minutes --out out
    python experiments/proxy/rank.py out/students.csv FOLDER

Prints Spearman's correlation of the mean gains of students.csv with the published gains, for each pair of networks and
for the mean over the pairs that every loss was published for, with a 95% bootstrap interval over losses and a two-sided
permutation p; how well the seeds agree with each other, and the published pairs with each other. A loss that lacks a
seed is compared within the seeds that it has. Writes gains.csv, ranks.csv and proxy.png.
"""

import sys
from functools import partial
from itertools import combinations
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import bootstrap, permutation_test, rankdata

RESAMPLES = 9_999
PUBLISHED = Path(__file__).with_name("published.csv")
MEAN = "mean of complete pairs"
TICKS = (-50, -20, -10, -5, -2, -1, 0, 1, 2, 5)
TOO_FEW = "review"
"""Published for two pairs only: it says nothing of which pairs are complete."""


def main(students: str, folder: str) -> None:
    here = gains_here(pd.read_csv(students))
    published = gains_published()
    complete = published.columns[published.drop(TOO_FEW).notna().all()]
    published[MEAN] = published[complete].mean(axis=1, skipna=False)
    of_all_seeds = here.dropna(axis=1)
    found = {pair: agreement(of_all_seeds.mean(), published[pair]) for pair in published}
    found |= {f"{MEAN}, seed {seed}": agreement(gain, published[MEAN]) for seed, gain in here.iterrows()}
    ranks = pd.DataFrame.from_dict(found, orient="index")
    seeds = here.T.add_prefix("seed ")
    gains = pd.DataFrame({"here": here.mean(), "sd": here.std(), "seeds": here.count()}).join([seeds, published])
    gains = gains.sort_values("here", ascending=False).rename_axis("loss")
    out = Path(folder)
    gains.round(3).to_csv(out / "gains.csv")
    ranks.round(3).to_csv(out / "ranks.csv", index_label="pair")
    draw(gains, ranks).savefig(out / "proxy.png", dpi=110)
    print(gains[["here", *seeds, MEAN]].round(2).to_string(), "\n")
    print(ranks.round(3).to_string(), "\n")
    compared = [loss for loss in of_all_seeds if loss in published[MEAN].dropna().index]
    print(f"Some seeds with the others, mean of all ways: {halves(of_all_seeds[compared]):.2f}")
    print(f"A published pair with the others, mean of pairs: {others(published.loc[compared, complete]):.2f}")


def gains_here(students: pd.DataFrame) -> pd.DataFrame:
    """Points over the student alone of the same seed: a row for each seed, a column for each loss."""
    table = students[["seed", "arm", "loss", "student.test/accuracy_top1", "baseline.test/accuracy_top1"]].copy()
    table["points"] = 100 * (table["student.test/accuracy_top1"] - table["baseline.test/accuracy_top1"])
    table["loss"] += table["arm"].str.contains("standardize=true").map({True: " standardized", False: ""})
    return table.pivot(index="seed", columns="loss", values="points")


def gains_published() -> pd.DataFrame:
    """Points over the student alone: a row for each loss, a column for each pair of networks."""
    table = pd.read_csv(PUBLISHED, index_col="loss")
    return table.drop(["teacher", "alone"]) - table.loc["alone"]


def agreement(here: pd.Series, published: pd.Series) -> dict[str, float]:
    """Spearman's correlation over the losses that both know."""
    both = pd.concat([here, published], axis=1, join="inner").dropna().to_numpy().T
    found = bootstrap((both[0], both[1]), spearman, paired=True, n_resamples=RESAMPLES, method="percentile", rng=0)
    known = partial(spearman, y=both[1])
    shuffled = permutation_test((both[0],), known, permutation_type="pairings", n_resamples=RESAMPLES, rng=0)
    interval = found.confidence_interval
    rho = float(spearman(both[0], both[1], axis=-1))
    return {"rho": rho, "low": interval.low, "high": interval.high, "p": shuffled.pvalue, "losses": both.shape[1]}


def spearman(x: NDArray[np.float64], y: NDArray[np.float64], *, axis: int) -> NDArray[np.float64]:
    ranks_x, ranks_y = (rankdata(one, axis=axis) for one in (x, y))
    apart_x, apart_y = (ranks - ranks.mean(axis=axis, keepdims=True) for ranks in (ranks_x, ranks_y))
    together = (apart_x * apart_y).sum(axis=axis)
    return together / np.sqrt((apart_x**2).sum(axis=axis) * (apart_y**2).sum(axis=axis))


def halves(here: pd.DataFrame) -> float:
    """How well the ranking by some seeds agrees with that by the others: no proxy can agree much better than that."""
    seeds = list(here.index)
    parts = [(list(part), [s for s in seeds if s not in part]) for part in combinations(seeds, len(seeds) // 2)]
    return float(np.mean([here.loc[one].mean().corr(here.loc[other].mean(), "spearman") for one, other in parts]))


def others(published: pd.DataFrame) -> float:
    rest = {pair: published.drop(columns=pair).mean(axis=1) for pair in published}
    return float(np.mean([published[pair].corr(rest[pair], "spearman") for pair in published]))


def draw(gains: pd.DataFrame, ranks: pd.DataFrame) -> plt.Figure:
    figure, (left, right) = plt.subplots(1, 2, figsize=(13, 5.5), layout="constrained")
    shown = gains.dropna(subset=MEAN)
    error = shown["sd"] / np.sqrt(shown["seeds"])
    left.errorbar(shown["here"], shown[MEAN], xerr=error, fmt="o", color="C0", ecolor="0.7")
    for loss, row in shown.iterrows():
        left.annotate(loss, (row["here"], row[MEAN]), textcoords="offset points", xytext=(5, 4), fontsize=8)
    left.set_xscale("symlog", linthresh=2)
    left.set_xticks(TICKS, [f"{tick:+d}" if tick else "0" for tick in TICKS])
    left.margins(x=0.15)
    left.axvline(0, color="0.8", zorder=0)
    left.axhline(0, color="0.8", zorder=0)
    left.set_xlabel("gain here, points (mean of seeds ± standard error; beyond 2 a log scale)")
    left.set_ylabel(f"published gain, points ({MEAN})")
    below, above = ranks["rho"] - ranks["low"], ranks["high"] - ranks["rho"]
    right.errorbar(ranks["rho"], ranks.index, xerr=[below, above], fmt="o", color="C0", ecolor="0.7")
    right.axvline(0, color="0.8", zorder=0)
    right.set(xlim=(-1, 1), xlabel="Spearman's correlation with the gains here (95% interval over losses)")
    right.invert_yaxis()
    return figure


if __name__ == "__main__":
    main(*sys.argv[1:])
