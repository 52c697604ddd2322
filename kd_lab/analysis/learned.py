"""What was learned beside students, such as weights of terms, as curves in one table."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import pandas as pd

from kd_lab.analysis.curves import COLUMNS, curves
from kd_lab.names import TAG_LEARNED, TRAIN_LEARNING_RATE, train_loss, train_reading
from kd_lab.store.location import LOCAL
from kd_lab.store.reading import reading

OTHERS = (TRAIN_LEARNING_RATE, train_loss(""), train_reading("gradient"))
"""How the keys of a training begin that are none of this."""


class Learned(NamedTuple):
    """curves: the columns run_id, reading (`kd_weight`), step, value. told: what was learned from what, by run."""

    curves: pd.DataFrame
    told: Mapping[str, str]


NOTHING = Learned(pd.DataFrame(columns=["reading", *COLUMNS]), {})


def learned(run_ids: Iterable[str], uri: str = LOCAL) -> Learned:
    """The curves of those runs that say that something was learned in them; what a schedule moves is none.

    Args:
        run_ids: of students.
        uri: the store; it is read, never made.

    Raises:
        UserError: there is no such store.
    """
    told: dict[str, str] = {}
    wanted: dict[str, list[str]] = {}
    with reading(uri) as reader:
        records = reader.of_ids(list(dict.fromkeys(run_ids)))
    for record in records:
        if TAG_LEARNED not in record.tags:
            continue
        told[record.run_id] = record.tags[TAG_LEARNED]
        moved = _moved(record.params)
        for key in record.metrics:
            if key.startswith(train_reading("")) and not key.startswith(OTHERS) and key not in moved:
                wanted.setdefault(key, []).append(record.run_id)
    found = [
        curves(runs, key, uri).assign(reading=key.removeprefix(train_reading("")))
        for key, runs in sorted(wanted.items())
    ]
    return Learned(pd.concat(found, ignore_index=True), told) if found else NOTHING


def _moved(params: Mapping[str, str]) -> set[str]:
    """The keys of what schedules move: `loss.terms.kd.schedules.weight._target_` is `train/kd_weight`."""
    found = {train_reading("hard_weight")} if any(key.startswith("loss.hard_schedule.") for key in params) else set()
    for key in params:
        if key.startswith("loss.terms.") and ".schedules." in key:
            term, _, setting = key.removeprefix("loss.terms.").partition(".schedules.")
            found.add(train_reading(f"{term}_{setting.partition('.')[0]}"))
    return found
