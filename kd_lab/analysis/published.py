"""What papers report of a pair of networks and a loss, to stand beside what was measured; never mixed in.

The figures are in tables/: a file for each benchmark, a row for each loss and source, a column for each pair, top-1
accuracy in percent. Which experiment a run is of, and what of it is otherwise, its tags say.
"""

from collections.abc import Iterator
from functools import cache
from importlib import resources
from io import StringIO
from typing import NamedTuple

import pandas as pd

from kd_lab.analysis.unit import Unit
from kd_lab.names import TEST_ACCURACY_TOP1

COLUMN = "published"
TEACHER, ALONE = "teacher", "alone"
OTHER_LOSS = ("loss.", "teacher.", "student.")
OF_RECIPE = "student.recipe."


class Figure(NamedTuple):
    """One that was published: the loss (`teacher` and `alone` are the networks without one) and its top-1 accuracy.

    accuracy: a fraction from 0 to 1. protocol: which epoch or mean it is. source: where it stands.
    """

    loss: str
    accuracy: float
    protocol: str
    source: str


@cache
def figures(experiment: str) -> dict[str, Figure]:
    """By loss, of `cifar100/resnet32x4_resnet8x4`; of several sources the first. Empty where none are known."""
    benchmark, _, pair = experiment.partition("/")
    table, sources = _table(benchmark), _table("sources").set_index("source")
    if pair not in table.columns[2:]:
        return {}
    known = table[table[pair] != ""].drop_duplicates("loss")
    return {
        loss: Figure(loss, float(value) / 100, sources.loc[source, "protocol"], sources.loc[source, "told"])
        for loss, source, value in zip(known["loss"], known["source"], known[pair], strict=True)
    }


@cache
def _table(name: str) -> pd.DataFrame:
    file = resources.files("kd_lab.analysis") / "tables" / f"{name}.csv"
    text = file.read_text(encoding="utf-8") if file.is_file() else "loss,source\n"
    return pd.read_csv(StringIO(text), dtype=str, keep_default_na=False)


def with_published(arms: pd.DataFrame, students: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The arms with what was published of each: COLUMN (a fraction), `_loss`, `_protocol`, `_source`, `_experiment`.

    There is no such column where the metric is not top-1 accuracy, or no arm has a figure. An arm has one where all its
    runs are of one experiment, with its networks and the loss as it was published: an arm at another temperature, which
    nobody published, has none. What its recipe or data have otherwise is told by `_otherwise`.
    """
    if metric != TEST_ACCURACY_TOP1 or "experiment" not in students:
        return arms
    found = {arm: _of_arm(rows) for arm, rows in students.groupby("arm", sort=False)}
    if not any(found.values()):
        return arms
    added = pd.DataFrame([found[arm] or {} for arm in arms["arm"]], index=arms.index)
    return pd.concat(
        [arms, added.add_prefix(f"{COLUMN}_").rename(columns={f"{COLUMN}_accuracy": COLUMN})], axis="columns"
    )


def _of_arm(rows: pd.DataFrame) -> dict[str, object] | None:
    facts = rows[["experiment", "experiment_loss", "experiment_changed"]].fillna("").drop_duplicates()
    if len(facts) > 1 or not facts["experiment"].iloc[0]:
        return None
    experiment, loss, changed = (str(value) for value in facts.iloc[0])
    figure = figures(experiment).get(loss)
    words = changed.split()
    if figure is None or any(word.startswith(OTHER_LOSS) and not word.startswith(OF_RECIPE) for word in words):
        return None
    told = {
        "loss": loss,
        "protocol": figure.protocol,
        "source": figure.source,
        "experiment": experiment,
        "otherwise": changed,
    }
    return {"accuracy": figure.accuracy, **told}


def notes(arms: pd.DataFrame) -> Iterator[str]:
    """What the column is, a sentence for each source, for each experiment, and for what these runs have otherwise."""
    if COLUMN not in arms:
        return
    known = arms[arms[COLUMN].notna()]
    by_source = [
        f"{_losses(rows)}: {protocol}, {source}"
        for (protocol, source), rows in known.groupby([f"{COLUMN}_protocol", f"{COLUMN}_source"], sort=False)
    ]
    yield f"Published is what others report, not measured here. {'; '.join(by_source)}."
    for experiment, rows in known.groupby(f"{COLUMN}_experiment", sort=False):
        of = figures(str(experiment))
        parts = {"the teacher": of.get(TEACHER), "the student alone": of.get(ALONE)}
        told = [f"{name} {Unit().reached(one.accuracy)}" for name, one in parts.items() if one is not None]
        if told:
            yield f"Published for {experiment}: {' and '.join(told)}."
        for otherwise, same in rows[rows[f"{COLUMN}_otherwise"] != ""].groupby(f"{COLUMN}_otherwise", sort=False):
            start = f"Not as published for {experiment}, so that the two do not compare"
            yield f"{start}: {_losses(same)} with {otherwise}."


def _losses(arms: pd.DataFrame) -> str:
    return ", ".join(dict.fromkeys(arms[f"{COLUMN}_loss"].astype(str)))
