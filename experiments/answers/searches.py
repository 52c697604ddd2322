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

import numpy as np
from mlflow import MlflowClient

from kd_lab import names
from kd_lab.analysis.statistics import difference, spread


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
        found[kind].append(float(np.mean([100 * accuracy[one] for one in chosen])))
    for kind, means in found.items():
        one, each = spread(np.array(means)), ", ".join(f"{mean:.2f}" for mean in means)
        print(f"{kind:6}  {one.mean:.2f} ± {one.sd:.2f} over {one.n} searches: {each}")
    gain = difference(np.array(found["pbt"]) - np.array(found["random"]))
    print(f"pbt - random  {gain.mean:+.2f} [{gain.low:+.2f}, {gain.high:+.2f}]")


if __name__ == "__main__":
    main()
