"""Rows of a table as a network is given them: numbers filled and scaled, a 0 or 1 for each category.

scikit-learn's ColumnTransformer learns how; what it learned is a list of numbers, so that it is kept with a network as
plain text, runs on its device, and nothing has to be unpickled.
Legend: B batch, N rows, C columns of the table, F features of the network.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kd_lab.datasets.common.frames import read_frames
from kd_lab.datasets.common.typed import Column, encoded
from kd_lab.inputs import Inputs, each
from kd_lab.outside.nodes import node_of
from kd_lab.types import Read

Rows = npt.NDArray[np.float64]


class Columns:
    """Rows [B, C] of values, codes and NaN to features [B, F] float32, column after column.

    Args:
        names: of the columns.
        categories: of each column the names of its categories by code, or None where it holds numbers.
        fill: of each column what stands in for a missing value; the code after the last one where it has categories.
        mean: of each column what is taken from a number.
        deviation: and what it is divided by.
        codes: of each column the codes that are a feature each; none where it holds numbers.
        separator: how a file of such rows is read.
        missing: the same.
    """

    def __init__(
        self,
        *,
        names: list[str],
        categories: list[list[str] | None],
        fill: list[float],
        mean: list[float],
        deviation: list[float],
        codes: list[list[int]],
        separator: str | None,
        missing: list[str],
    ) -> None:
        self._given = {
            "names": names,
            "categories": categories,
            "fill": fill,
            "mean": mean,
            "deviation": deviation,
            "codes": codes,
            "separator": separator,
            "missing": missing,
        }
        self.columns = [Column(n, None if c is None else tuple(c)) for n, c in zip(names, categories, strict=True)]
        self.separator, self.missing = separator, tuple(missing)
        features = [
            (place, fill[place], mean[place], deviation[place], code)
            for place, column in enumerate(self.columns)
            for code in ([-1] if column.categories is None else codes[place])
        ]
        self._tensors = [torch.tensor(one, dtype=torch.float64) for one in zip(*features, strict=True)]
        self._place = self._tensors.pop(0).long()

    def __call__(self, inputs: Inputs) -> Inputs:
        """New tensors on the same device."""
        return each(inputs, self._of_one)

    def _of_one(self, rows: Tensor) -> Tensor:
        if rows.ndim != 2 or rows.shape[1] != len(self.columns):
            raise ValueError(f"Expected rows of {len(self.columns)} columns, but got {list(rows.shape[1:])}.")
        if self._place.device != rows.device:
            self._place, self._tensors = self._place.to(rows.device), [one.to(rows.device) for one in self._tensors]
        fill, mean, deviation, code = self._tensors
        values = rows.index_select(1, self._place)
        values = torch.where(values.isnan(), fill, values)
        return torch.where(code < 0, (values - mean) / deviation, (values == code).double()).float()

    @property
    def num_features(self) -> int:
        """F."""
        return len(self._place)

    def of_frame(self, frame: Any, setting: str) -> Rows:
        """The rows [N, C] of a table with these columns, and perhaps others; see `encoded` for errors."""
        return encoded(frame, self.columns, setting)

    @property
    def meaning(self) -> object:
        """The columns; what is done to them is learned anew from other rows."""
        return self.columns

    def batches(self, path: str, size: int) -> Iterator[Read]:
        """Those of a file, at most `size` at a time; see `read_frames` and `encoded` for errors."""
        for frame in read_frames(path, path, self.separator, self.missing, size):
            yield Read(torch.from_numpy(self.of_frame(frame, path)))

    def __repr__(self) -> str:
        """All of it: a dataset's fingerprint holds this."""
        return f"Columns({self._given})"

    @property
    def node(self) -> dict[str, Any]:
        """What builds it again, as a config: it goes with every network that it prepares samples for."""
        return node_of(self, **self._given)


def fitted(columns: list[Column], rows: Rows, separator: str | None, missing: tuple[str, ...]) -> Columns:
    """What ColumnTransformer learns from rows [N, C]: medians, means and deviations, the categories that are there.

    A category that is not there, and a missing one if none is missing there, is 0 in all features of its column.
    """
    numbers = [place for place, column in enumerate(columns) if column.categories is None]
    others = [place for place in range(len(columns)) if place not in set(numbers)]
    learned = transformer(numbers, others).fit(rows)
    fill = [float(len(column.categories or ())) for column in columns]
    mean, deviation = [0.0] * len(columns), [1.0] * len(columns)
    codes: list[list[int]] = [[] for _ in columns]
    if numbers:
        imputer, scaler = (step for _, step in learned.named_transformers_["numbers"].steps)
        for i, place in enumerate(numbers):
            fill[place], mean[place] = float(imputer.statistics_[i]), float(scaler.mean_[i])
            deviation[place] = float(scaler.scale_[i])
    if others:
        for place, found in zip(others, learned.named_transformers_["categories"].categories_, strict=True):
            codes[place] = [int(fill[place]) if np.isnan(code) else int(code) for code in found]
    listed = [None if column.categories is None else list(column.categories) for column in columns]
    return Columns(
        names=[column.name for column in columns],
        categories=listed,
        fill=fill,
        mean=mean,
        deviation=deviation,
        codes=codes,
        separator=separator,
        missing=list(missing),
    )


def transformer(numbers: list[int], others: list[int]) -> Any:
    """The ColumnTransformer, not fitted: the median for what is missing, then mean 0 and deviation 1; one-hot codes."""
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    filled = make_pipeline(SimpleImputer(strategy="median", keep_empty_features=True), StandardScaler())
    one_hot = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    return ColumnTransformer([("numbers", filled, numbers), ("categories", one_hot, others)])
