"""Single cells: an .h5ad file of AnnData (Virshup et al. 2021), cells x genes, with a label for each cell.

Legend: N cells, G genes.
"""

import hashlib
import logging
import math
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from kd_lab.datasets.common.cells import Cells
from kd_lab.datasets.common.classes import class_names, class_numbers, listed_classes
from kd_lab.datasets.common.counts import LogCounts
from kd_lab.datasets.common.held_out import Wanted, check_test, cut_test
from kd_lab.datasets.common.readers.cells import CellsOf
from kd_lab.datasets.common.splits import SplitSettings, assemble, assemble_read, cut
from kd_lab.errors import UserError, choices
from kd_lab.types import UNLABELLED, Augment, Data

IN_MEMORY_BYTES = 2**30
"""Cells up to this size, dense in float32, are read at once; of more a batch is read when it is wanted."""
_logger = logging.getLogger(__name__)


class AnnData:
    """Cells [N, G] float32; with `normalise=log1p` a network is given the log of counts per 10,000, see `LogCounts`.

    A cell without a label (NaN in its column) is seen only by a student that is distilled. Classes are cut in
    proportion; of one with few cells few come to each part, and its accuracy says little.
    """

    def __init__(
        self,
        *,
        path: str,
        label: str,
        matrix: str = "X",
        normalise: Literal["none", "log1p"] = "none",
        labels: int | None = None,
        validation: int | float = 0,
        test: int | float = 0.2,
        seed: int = 0,
        augment: Augment | None = None,
    ) -> None:
        """Checks the settings, reads nothing.

        Args:
            path: the .h5ad file.
            label: the column of `obs` that holds the classes.
            matrix: `X`, `raw`, or the name of a layer.
            normalise: `log1p` for counts; `none` where the file has been prepared.
            labels: how many labels are kept, stratified; None keeps all.
            validation: a number of labelled cells, or a fraction of those not in the test.
            test: a number of labelled cells, or a fraction of them.
            seed: fixes the parts.
            augment: the batch transform that training may apply.

        Raises:
            ValueError: a value that no dataset can meet.
        """
        self._settings = SplitSettings(labels, validation, seed, augment)
        check_test(test)
        self._path, self._label, self._matrix = path, label, matrix
        self._test, self._prepare = test, LogCounts() if normalise == "log1p" else None
        self._key = f"dataset.path={path}"

    def load(self) -> Data:
        """Reads the labels, and the cells where they are few enough.

        Raises:
            UserError: anndata is not installed, the file or its content is not as described, or the settings ask for
                more than it holds.
        """
        cells = Cells(self._path, self._matrix)
        try:
            return self._read(cells)
        finally:
            cells.close()

    def _read(self, cells: Cells) -> Data:
        count, genes = (int(size) for size in cells.values.shape)
        classes, own = self._classes(cells)
        setting, instead = f"dataset.label={self._label}", "a column with fewer classes"
        wanted = Wanted(self._test, self._settings.seed, setting, instead, classes)
        pool, test = cut_test(own, torch.arange(count), len(classes), wanted)
        targets, parts = cut(own, pool, test, len(classes), self._settings)
        if 4 * count * genes <= IN_MEMORY_BYTES:
            inputs = cells.all()
            self._check(inputs)
            data = assemble(
                "anndata",
                inputs,
                targets,
                parts,
                num_classes=len(classes),
                augment=self._settings.augment,
                prepare=self._prepare,
            )
        else:
            self._check(cells.read(torch.arange(min(count, 1000))))
            data = assemble_read(
                "anndata",
                cells,
                self._digest(),
                targets,
                parts,
                num_classes=len(classes),
                augment=self._settings.augment,
                prepare=self._prepare,
            )
        told, reader = (self._told(own, classes, genes),), CellsOf(matrix=self._matrix, genes=cells.genes)
        return replace(data, told=told, class_names=tuple(classes), reader=reader)

    def _classes(self, cells: Cells) -> tuple[list[str], Tensor]:
        """Their names, and each cell's [N]."""
        column, setting = cells.file.obs, f"dataset.label={self._label}"
        if self._label not in column:
            raise UserError(f"{setting}: obs of {self._path} has no such column; {choices(self._label, [*column])}")
        values = column[self._label].astype(object)
        names = class_names(values, setting)
        return names, class_numbers(values, names, setting)

    def _check(self, inputs: Tensor) -> None:
        """Look at the numbers."""
        if not bool(torch.isfinite(inputs).all()):
            row = int(torch.nonzero(~torch.isfinite(inputs).all(dim=1))[0])
            raise UserError(f"{self._key}: {self._matrix} has values that are NaN or infinite, first in cell {row}.")
        if self._prepare is None:
            return
        if bool((inputs < 0).any()):
            raise UserError(
                f"dataset.normalise=log1p: {self._matrix} has negative values (down to {float(inputs.min()):.3g}), "
                "which no counts are; expected dataset.normalise=none, or dataset.matrix=raw or a layer with counts."
            )
        if bool((inputs % 1 != 0).any()):
            _logger.warning(
                "dataset.normalise=log1p: %s holds numbers that are not whole, as counts that were prepared before do; "
                "dataset.normalise=none takes them as they are.",
                self._matrix,
            )

    def _digest(self) -> bytes:
        """What the cells are known by where they are not read at once: the bytes of the file, and which matrix."""
        with Path(self._path).expanduser().open("rb") as file:
            digest = hashlib.file_digest(file, "sha256")
        digest.update(self._matrix.encode())
        return digest.digest()

    def _told(self, own: Tensor, classes: list[str], genes: int) -> str:
        counts = torch.bincount(own[own != UNLABELLED], minlength=len(classes))
        least = int(counts.argmin())
        share = math.ceil(self._test * int(counts[least])) if isinstance(self._test, float) else None
        few = f", about {share} of them in the test" if share is not None else ""
        return (
            f"anndata: {len(own):,} cells, {genes:,} genes ({self._matrix}); {listed_classes(classes)}; fewest: "
            f"{classes[least]}, {int(counts[least])} cells{few}"
        )
