"""What a person wants to know of a table before a network sees it: in a line, and what looks like a mistake."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from kd_lab.datasets.common.columns import Columns
from kd_lab.datasets.common.typed import UNSEEN, Column

if TYPE_CHECKING:
    import pandas as pd

FEW = 20
"""Rows below which all values of a column may differ by chance."""
SHOWN = 3


def described(columns: Sequence[Column], rows: npt.NDArray[np.float64], prepare: Columns) -> str:
    """`20 columns, 7 of numbers, 13 of categories, 61 features; 12 of 20,000 values missing (age 12)`."""
    numbers = sum(column.categories is None for column in columns)
    missing = np.isnan(rows).sum(axis=0)
    worst = [place for place in np.argsort(-missing, kind="stable") if missing[place]]
    where = ", ".join(f"{columns[place].name} {missing[place]:,}" for place in worst[:SHOWN])
    more = f" and {len(worst) - SHOWN} more columns" if len(worst) > SHOWN else ""
    return (
        f"{len(columns)} columns, {numbers} of numbers, {len(columns) - numbers} of categories, "
        f"{prepare.num_features:,} features; "
        + (f"{missing.sum():,} of {rows.size:,} values missing ({where}{more})" if worst else "no value missing")
    )


def warnings(own: "pd.DataFrame", columns: Sequence[Column], rows: npt.NDArray[np.float64]) -> Iterator[str]:
    """Columns without a value, those that look like an id, and categories that come in another file alone.

    rows: of all files, those of `own` first.
    """
    empty = [name for name in own.columns if own[name].isna().all()]
    if empty:
        yield f"no value at all in {', '.join(map(str, empty[:SHOWN]))}, left out"
    for place, column in enumerate(columns):
        if _like_an_id(column, rows[: len(own), place]):
            yield (
                f"column {column.name} differs in all {len(own):,} rows, as an id does, from which nothing is "
                f"learned; dataset.drop=[{column.name}] leaves it out"
            )
        unseen = int((rows[len(own) :, place] == UNSEEN).sum()) if column.categories else 0
        if unseen:
            yield (
                f"column {column.name} has a category in {unseen:,} rows of the other files that is not in these, "
                "which counts as none"
            )


def _like_an_id(column: Column, values: npt.NDArray[np.float64]) -> bool:
    """Names that all differ, or whole numbers that count up or down."""
    if len(values) < FEW or np.isnan(values).any():
        return False
    if column.categories is not None:
        return len(np.unique(values)) == len(values)
    steps = np.diff(values)
    return bool((values % 1 == 0).all() and ((steps > 0).all() or (steps < 0).all()))
