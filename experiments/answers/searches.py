"""What several searches of one study chose, side by side: `python searches.py STORE STUDY`, in the order of their runs.

Prints the mean test accuracy over the final seeds of what each search chose, and the paired difference between
population-based training and random search, whose n-th searches are compared. A search whose runs were all found again
(Optuna's first ten draws are those of its random sampler) is not told twice.
"""

import csv
import math
import sys
from collections import defaultdict
from pathlib import Path
from statistics import mean, stdev

from mlflow import MlflowClient
from scipy.stats import t

from kd_lab import names


def kind_of(title: str) -> str:
    """Which search a sweep was; none where it was a grid."""
    return "pbt" if "sweep=pbt" in title else "random" if "sweep=optuna" in title else ""


def main() -> None:
    """Print the table."""
    store, study = sys.argv[1:]
    client = MlflowClient(store)
    experiment = client.get_experiment_by_name(study)
    assert experiment is not None, f"{store} has no study {study}"
    runs = client.search_runs([experiment.experiment_id], order_by=["attributes.start_time ASC"], max_results=10_000)
    accuracy = {run.info.run_id: run.data.metrics.get(names.TEST_ACCURACY_TOP1, math.nan) for run in runs}
    found: dict[str, list[float]] = defaultdict(list)
    told: set[str] = set()
    for run in runs:
        kind = kind_of(run.info.run_name or "")
        if run.data.tags[names.TAG_ROLE] != "sweep" or not kind or run.info.status != "FINISHED":
            continue
        with Path(run.info.artifact_uri.removeprefix("file://"), names.ARTIFACT_JOBS).open(newline="") as file:
            chosen = [row["student_run"] for row in csv.DictReader(file) if " seed=" in row["job"]]
        if told.issuperset(chosen):
            continue
        told.update(chosen)
        found[kind].append(100 * mean(accuracy[one] for one in chosen))
    for kind, means in found.items():
        each = ", ".join(f"{one:.2f}" for one in means)
        print(f"{kind:6}  {mean(means):.2f} ± {stdev(means):.2f} over {len(means)} searches: {each}")
    gains = [one - other for one, other in zip(found["pbt"], found["random"], strict=True)]
    half = float(t.ppf(0.975, len(gains) - 1)) * stdev(gains) / math.sqrt(len(gains))
    print(f"pbt - random  {mean(gains):+.2f} [{mean(gains) - half:+.2f}, {mean(gains) + half:+.2f}]")


if __name__ == "__main__":
    main()
