"""A table of the user's own: a CSV, TSV or parquet file of numbers and categories, one column of it the class.

Legend: N rows, C columns, F features of the network.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from kd_lab.datasets.common.classes import class_names, class_numbers, listed_classes
from kd_lab.datasets.common.columns import Rows, fitted
from kd_lab.datasets.common.frames import MISSING, read_frame
from kd_lab.datasets.common.held_out import Wanted, check_test, cut_test
from kd_lab.datasets.common.munge import Munge
from kd_lab.datasets.common.remarks import described, warnings
from kd_lab.datasets.common.splits import Parts, SplitSettings, assemble, cut
from kd_lab.datasets.common.spunge import Spunge
from kd_lab.datasets.common.typed import Column, encoded, typed
from kd_lab.errors import UserError, choices
from kd_lab.types import UNLABELLED, Augment, Data

if TYPE_CHECKING:
    import pandas as pd

_logger = logging.getLogger(__name__)


class Table:
    """Rows [N, C] float64 of numbers and codes of categories; a network is given features [F], see `Columns`.

    A column is one of numbers where all of its values are, else one of categories. Numbers are brought to mean 0 and
    standard deviation 1, missing ones to the median before; each category is a feature of 0 or 1, and so is "missing".
    All of that is learned from what a student may see. A row without a class is seen only by a student that is
    distilled.
    """

    def __init__(
        self,
        *,
        path: str,
        target: str,
        test_path: str | None = None,
        val_path: str | None = None,
        categorical: Sequence[str] = (),
        drop: Sequence[str] = (),
        separator: str | None = None,
        missing: Sequence[str] = MISSING,
        labels: int | None = None,
        validation: int | float = 0,
        test: int | float = 0.2,
        munge: int = 0,
        munge_probability: float = 0.5,
        munge_spread: float = 1.0,
        spunge: int = 0,
        spunge_share: float = 0.1,
        spunge_noise: float = 0.1,
        seed: int = 0,
        augment: Augment | None = None,
    ) -> None:
        """Checks the settings, reads nothing.

        Args:
            path: a .csv, .tsv or .parquet file; the first line of a text file holds the names of the columns.
            target: the column of the classes, names or numbers.
            test_path: a file of the same columns for the test; None cuts it from the rows.
            val_path: the same for validation.
            categorical: columns whose numbers are names of categories.
            drop: columns to leave out.
            separator: between the values of a line; None: a comma, a tab in .tsv.
            missing: texts that stand for no value, beside NA, NaN, null and the like.
            labels: how many labels are kept, stratified; None keeps all.
            validation: a number of labelled rows, or a fraction of those not in the test; 0 with `val_path`.
            test: a number of labelled rows or a fraction of them; not used where there is `test_path`.
            munge: how many rows without a label are made of those that a student may see, for a teacher to label; see
                `kd_lab.datasets.common.munge`.
            munge_probability: with which a made row has its neighbour's value.
            munge_spread: the larger, the nearer made numbers are to real ones.
            spunge: how many more are made without a search for neighbours; see `kd_lab.datasets.common.spunge`.
            spunge_share: of the columns that another row may give, and of the numbers that move.
            spunge_noise: by how many standard deviations of their column.
            seed: fixes the parts, and what is made.
            augment: the batch transform that training may apply to rows [B, C].

        Raises:
            ValueError: a value that no dataset can meet.
        """
        self._settings = SplitSettings(labels, validation, seed, augment)
        check_test(test)
        for name, count in (("munge", munge), ("spunge", spunge)):
            if count < 0:
                raise ValueError(f"Expected `{name}` to be >= 0, but got {count}.")
        for name, value in (("path", path), ("target", target)):
            if not value:
                raise ValueError(
                    f"Expected `{name}` to be a {'file' if name == 'path' else 'column'}, but got nothing."
                )
        if val_path is not None and validation:
            raise ValueError(f"Expected `validation` to be 0 beside val_path, but got {validation}.")
        files = {"test_path": test_path, "val_path": val_path}
        self._path, self._others = path, {part: other for part, other in files.items() if other is not None}
        self._target, self._categorical, self._drop = target, tuple(categorical), tuple(drop)
        self._separator, self._missing, self._test = separator, tuple(missing), test
        self._makers: list[tuple[str, int, Munge | Spunge]] = [
            ("munge", munge, Munge(munge_probability, munge_spread)),
            ("spunge", spunge, Spunge(spunge_share, spunge_noise)),
        ]
        self._key = f"dataset.path={path}"

    def load(self) -> Data:
        """Reads the files, finds out what the columns are, and cuts the rows.

        Raises:
            UserError: a file or its content is not as described, or the settings ask for more than it holds.
        """
        own = self._read(self._path, "path")
        others = [self._read(path, part) for part, path in self._others.items()]
        columns = self._columns(own)
        classes = class_names(own[self._target], f"dataset.target={self._target}")
        rows, targets = self._numbers([own, *others], columns, classes)
        sizes = [len(one) for one in targets]
        everything, parts = self._cut(torch.cat(targets), sizes, classes)
        codes = np.concatenate(rows)
        prepare = fitted(columns, codes[parts.transfer.numpy()], self._separator, self._missing)
        told = [f"table: {described(columns, codes, prepare)}; {listed_classes(classes)}"]
        made, remarks = self._made_of(codes[parts.transfer.numpy()], columns)
        new = torch.arange(len(codes), len(codes) + len(made))
        parts = replace(parts, transfer=torch.cat([parts.transfer, new]))
        everything = torch.cat([everything, torch.full((len(made),), UNLABELLED)])
        codes = np.concatenate([codes, made])
        for warning in warnings(own, columns, codes):
            _logger.warning("%s: %s", self._key, warning)
        data = assemble(
            "table",
            torch.from_numpy(codes),
            everything,
            parts,
            num_classes=len(classes),
            augment=self._settings.augment,
            prepare=prepare,
        )
        return replace(data, told=(*told, *remarks), class_names=tuple(classes))

    def _made_of(self, rows: Rows, columns: list[Column]) -> tuple[Rows, list[str]]:
        """New rows, and what is told of them."""
        made, remarks = [rows[:0]], []
        categories = np.array([column.categories is not None for column in columns])
        for name, count, maker in self._makers:
            if count and len(rows) < 2:
                raise UserError(f"dataset.{name}={count}: rows are made of two, but there is only one to train on.")
            if count:
                made.append(maker(rows, categories, count, self._settings.seed))
                remarks.append(f"{name}: {count:,} rows without a label, made of {len(rows):,}")
        return np.concatenate(made), remarks

    def _read(self, path: str, part: str) -> "pd.DataFrame":
        """A file, without the columns that are left out; it has the target."""
        key = f"dataset.{part}={path}"
        frame = read_frame(path, key, self._separator, self._missing)
        for asked, name in [("target", self._target), *(("drop", name) for name in self._drop)]:
            if name not in frame.columns and (part == "path" or asked == "target"):
                raise UserError(f"dataset.{asked}={name}: {path} has no such column; {choices(name, [*frame.columns])}")
        return frame.drop(columns=[name for name in self._drop if name in frame.columns])

    def _columns(self, own: "pd.DataFrame") -> list[Column]:
        columns = typed(own.drop(columns=[self._target]), self._categorical, self._key)
        if not columns:
            raise UserError(f"{self._key}: no column holds a value beside {self._target}, expected at least one.")
        return columns

    def _numbers(
        self, frames: Sequence["pd.DataFrame"], columns: list[Column], classes: list[str]
    ) -> tuple[list[Rows], list[Tensor]]:
        """Rows and targets of each file."""
        keys = [self._key, *(f"dataset.{part}={path}" for part, path in self._others.items())]
        rows = [encoded(frame, columns, key) for frame, key in zip(frames, keys, strict=True)]
        targets = [
            class_numbers(frame[self._target], classes, key, all_known=key != self._key)
            for frame, key in zip(frames, keys, strict=True)
        ]
        return rows, targets

    def _cut(self, targets: Tensor, sizes: list[int], classes: list[str]) -> tuple[Tensor, Parts]:
        """Targets with those that are hidden, and the parts; each file's rows follow one another."""
        own, *others = torch.split(torch.arange(len(targets)), sizes)
        given = dict(zip(self._others, others, strict=True))
        if "test_path" in given:
            pool, test = own, given["test_path"]
        else:
            wanted = Wanted(self._test, self._settings.seed, self._key, "dataset.test_path=FILE", classes)
            pool, test = cut_test(targets, own, len(classes), wanted)
        targets, parts = cut(targets, pool, test, len(classes), self._settings)
        return targets, replace(parts, validation=given["val_path"]) if "val_path" in given else parts
