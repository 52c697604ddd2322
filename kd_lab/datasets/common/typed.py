"""Which columns of a table hold numbers and which names of categories, and each row as numbers: values, codes, NaN.

Legend: N rows, C columns.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from kd_lab.errors import UserError, choices

if TYPE_CHECKING:
    import pandas as pd

UNSEEN = -1
"""The code of a category that the table lacked in which categories were counted."""
MOSTLY = 0.5
"""Share of numbers from which on a column with texts in it is thought to be one of numbers with mistakes."""


class Column(NamedTuple):
    """One column. categories: their names in the order of their codes; None: it holds numbers."""

    name: str
    categories: tuple[str, ...] | None = None


def typed(frame: "pd.DataFrame", categorical: Sequence[str], setting: str) -> list[Column]:
    """The kind of each column that holds anything.

    Raises:
        UserError: no such column, a column with numbers and texts, dates, or numbers that are not finite.
    """
    unknown = next((name for name in categorical if name not in frame.columns), None)
    if unknown is not None:
        raise UserError(
            f"dataset.categorical={list(categorical)}: no column {unknown}; {choices(unknown, list(frame.columns))}"
        )
    columns = []
    for name in frame.columns:
        values = frame[name].dropna()
        if len(values):
            as_numbers = name not in categorical and _holds_numbers(values, setting)
            columns.append(Column(name, None if as_numbers else _categories(values)))
    return columns


def _holds_numbers(values: "pd.Series[Any]", setting: str) -> bool:
    import pandas as pd

    if pd.api.types.is_bool_dtype(values):
        return False
    if pd.api.types.is_datetime64_any_dtype(values):
        raise UserError(
            f"{setting}: column {values.name} holds dates; make numbers of them, such as days, or set "
            f"dataset.drop=[{values.name}]."
        )
    numbers = pd.to_numeric(values, errors="coerce") if _is_text(values) else values
    texts = numbers.isna()
    if texts.all() or texts.mean() > 1 - MOSTLY:
        return False
    if texts.any():
        row, text = values.index[texts][0], values[texts].iloc[0]
        raise UserError(
            f"{setting}: column {values.name} holds numbers but for {int(texts.sum())} of {len(values):,} values, the "
            f"first {text!r} in row {row}; if it stands for no value set dataset.missing=[{text}], if these are names "
            f"of categories dataset.categorical=[{values.name}]."
        )
    return True


def _is_text(values: "pd.Series[Any]") -> bool:
    import pandas as pd

    return not pd.api.types.is_numeric_dtype(values)


def texts(values: "pd.Series[Any]") -> "pd.Series[Any]":
    """Values as names of categories: 3.0 among whole numbers, as a column with gaps has them, is 3."""
    import pandas as pd

    if pd.api.types.is_float_dtype(values) and (values.dropna() % 1 == 0).all():
        values = values.astype("Int64")
    return values.astype("string").str.strip()


def _categories(values: "pd.Series[Any]") -> tuple[str, ...]:
    return tuple(sorted(map(str, texts(values).unique())))


def encoded(frame: "pd.DataFrame", columns: Sequence[Column], setting: str) -> npt.NDArray[np.float64]:
    """Rows [N, C]: the value of a number, the code of a category or `UNSEEN`, NaN where there is no value.

    Raises:
        UserError: a column is not there, or holds a text where numbers were learned from.
    """
    rows = np.empty((len(frame), len(columns)))
    for place, column in enumerate(columns):
        if column.name not in frame.columns:
            raise UserError(f"{setting}: no column {column.name}; {choices(column.name, list(frame.columns))}")
        values = frame[column.name]
        rows[:, place] = _numbers(values, setting) if column.categories is None else _codes(values, column.categories)
    return rows


def _numbers(values: "pd.Series[Any]", setting: str) -> npt.NDArray[np.float64]:
    import pandas as pd

    numbers: npt.NDArray[np.float64]
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    wrong = np.flatnonzero((np.isnan(numbers) & values.notna().to_numpy()) | np.isinf(numbers))
    if len(wrong):
        raise UserError(
            f"{setting}: column {values.name} has {values.iloc[wrong[0]]!r} in row {values.index[wrong[0]]}, expected "
            "a finite number, or nothing."
        )
    return numbers


def _codes(values: "pd.Series[Any]", categories: tuple[str, ...]) -> npt.NDArray[np.float64]:
    import pandas as pd

    codes: npt.NDArray[np.float64]
    codes = pd.Index(categories).get_indexer(pd.Index(texts(values).fillna(""))).astype(np.float64)
    codes[codes < 0] = UNSEEN
    codes[values.isna().to_numpy()] = np.nan
    return codes
