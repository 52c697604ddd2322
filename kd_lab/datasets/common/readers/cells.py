"""Cells out of files like those of `dataset=anndata`, their genes in the order that a network learned from.

Legend: B batch, N cells, G genes.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from kd_lab.datasets.common.cells import Cells
from kd_lab.errors import UserError
from kd_lab.outside.nodes import node_of
from kd_lab.types import Read


class CellsOf:
    """Reads an .h5ad file to cells [B, G] float32; it may hold more genes, in another order.

    Args:
        matrix: `X`, `raw` or the name of a layer.
        genes: what the columns are called, in their order.
    """

    def __init__(self, *, matrix: str, genes: list[str]) -> None:
        self._matrix, self._genes = matrix, genes

    @property
    def node(self) -> dict[str, Any]:
        """See `kd_lab.types.Reader`."""
        return node_of(self, matrix=self._matrix, genes=self._genes)

    @property
    def meaning(self) -> object:
        """The genes."""
        return self._genes

    def batches(self, path: str, size: int) -> Iterator[Read]:
        """See `kd_lab.types.Reader`; cells are called as in the file.

        Raises:
            UserError: the file cannot be read, lacks the matrix or a gene, or holds no cell or values that are not
                finite.
        """
        cells = Cells(path, self._matrix, path)
        try:
            count, places, names = cells.values.shape[0], self._places(cells, path), cells.file.obs_names
            if not count:
                raise UserError(f"{path}: it holds no cell; expected one at least.")
            for rows in torch.split(torch.arange(count), size):
                found = cells.read(rows) if places is None else cells.read(rows)[:, places]
                _check_finite(found, int(rows[0]), path)
                yield Read(found, [str(name) for name in names[rows.numpy()]])
        finally:
            cells.close()

    def _places(self, cells: Cells, path: str) -> Tensor | None:
        """Where each gene [G] stands; None: they are those, in this order."""
        there = cells.genes
        if there == self._genes:
            return None
        place = {name: number for number, name in reversed(list(enumerate(there)))}
        missing = [name for name in self._genes if name not in place]
        if missing:
            raise UserError(
                f"{path}: {len(missing):,} of the {len(self._genes):,} genes that the network learned from are not in "
                f"it, the first {missing[0]}; expected them all."
            )
        return torch.tensor([place[name] for name in self._genes])


def _check_finite(cells: Tensor, start: int, path: str) -> None:
    bad = ~torch.isfinite(cells).all(dim=1)
    if bool(bad.any()):
        raise UserError(f"{path}: values are NaN or infinite, first in cell {start + int(torch.nonzero(bad)[0])}.")
