"""Labels by name, of a table or of cells: which classes there are, and the number of each row's class."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from kd_lab.datasets.common.typed import texts
from kd_lab.errors import UserError, choices
from kd_lab.types import UNLABELLED

if TYPE_CHECKING:
    import pandas as pd

CONTINUOUS = 0.5
"""Different values for each labelled row, from which on they are no classes."""
FRACTIONS = 20
"""More numbers than these that are not whole are no names of classes either."""


def class_names(values: "pd.Series[Any]", setting: str) -> list[str]:
    """The classes of a column of labels, in order: by value where all are numbers, else by name.

    setting: the key and value that messages blame, as in `dataset.target=income`.

    Raises:
        UserError: no label, one class, or as many values as a measured quantity has.
    """
    found = texts(values.dropna())
    names = [str(name) for name in found.unique()]
    if not names:
        raise UserError(f"{setting}: no row has a label, expected classes.")
    numbers = _as_numbers(names)
    fractions = numbers is not None and sum(number % 1 != 0 for number in numbers) > FRACTIONS
    if fractions or (len(names) > 2 and len(names) > CONTINUOUS * len(found)):
        kind = "numbers, as a measured quantity has" if numbers is not None else "texts, as names of the rows are"
        raise UserError(
            f"{setting}: {len(found):,} labels hold {len(names):,} different {kind}; kd-lab classifies: expected a "
            "column of classes, or one that is cut into ranges before."
        )
    if len(names) < 2:
        raise UserError(f"{setting}: it holds only one class, {names[0]}; expected at least 2.")
    return sorted(names) if numbers is None else [name for _, name in sorted(zip(numbers, names, strict=True))]


def class_numbers(values: "pd.Series[Any]", names: Sequence[str], setting: str, *, all_known: bool = False) -> Tensor:
    """The class of each row, [N] int64, `UNLABELLED` where there is no label.

    Raises:
        UserError: a class that is not among the names, or, where all have to be known, a row without.
    """
    import pandas as pd

    found = texts(values)
    missing = torch.from_numpy(values.isna().to_numpy().copy())
    if all_known and bool(missing.any()):
        raise UserError(f"{setting}: no label in row {int(torch.nonzero(missing)[0])}, expected one in each.")
    numbers = torch.from_numpy(pd.Index(names).get_indexer(pd.Index(found.fillna(""))).astype("int64"))
    strange = torch.nonzero((numbers < 0) & ~missing)
    if len(strange):
        row = int(strange[0])
        raise UserError(
            f"{setting}: the label {found.iloc[row]} in row {row} is none of the classes in dataset.path; "
            f"{choices(found.iloc[row], list(names))}"
        )
    return torch.where(missing, UNLABELLED, numbers)


def listed_classes(names: Sequence[str]) -> str:
    """`classes bad, good`; of many the first and the last."""
    shown = list(names) if len(names) <= 12 else [*names[:5], "...", names[-1]]
    return f"classes {', '.join(shown)}"


def _as_numbers(names: Sequence[str]) -> list[float] | None:
    try:
        return [float(name) for name in names]
    except ValueError:
        return None
