"""The rows of an .h5ad file: of a dense matrix a row is read where it is wanted, a sparse one lies in memory as it is.

Legend: N cells, G genes, R rows.
"""

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kd_lab.errors import UserError, choices

CHUNK = 4096
"""Cells at a time."""


class Cells:
    """A matrix of a file; see `kd_lab.types.Source`. Each process opens the file for itself.

    Args:
        path: the .h5ad file.
        matrix: `X`, `raw` or the name of a layer.
        setting: what messages start with; None: `dataset.path` and the path.
    """

    def __init__(self, path: str, matrix: str, setting: str | None = None) -> None:
        self._path, self._matrix, self._setting = path, matrix, setting or f"dataset.path={path}"
        self._opened: tuple[int, Any] | None = None
        self._sparse: Any = None

    def __getstate__(self) -> dict[str, Any]:
        """Without the open file."""
        return {**self.__dict__, "_opened": None}

    @property
    def file(self) -> Any:
        """An AnnData whose matrices are not read.

        Raises:
            UserError: anndata is not installed, or the file cannot be read.
        """
        if self._opened is None or self._opened[0] != os.getpid():
            self._opened = os.getpid(), _opened(self._path, self._setting)
        return self._opened[1]

    def close(self) -> None:
        """Until a row is wanted again."""
        if self._opened is not None:
            self._opened[1].file.close()
            self._opened = None

    @property
    def values(self) -> Any:
        """The matrix [N, G], not read yet if it is dense.

        Raises:
            UserError: the file has no such matrix.
        """
        file = self.file
        if self._matrix == "X":
            found = file.X
        elif self._matrix == "raw":
            found = None if file.raw is None else file.raw.X
        else:
            found = file.layers.get(self._matrix)
        if found is None:
            has = [*(["X"] if file.X is not None else []), *(["raw"] if file.raw is not None else []), *file.layers]
            raise UserError(
                f"dataset.matrix={self._matrix}: {self._path} has no such matrix; {choices(self._matrix, has)}"
            )
        if not hasattr(found, "to_memory"):
            return found
        if self._sparse is None:
            self._sparse = found.to_memory().tocsr()
        return self._sparse

    @property
    def genes(self) -> list[str]:
        """What the columns of the matrix are called."""
        file = self.file.raw if self._matrix == "raw" else self.file
        return [str(name) for name in file.var_names]

    def read(self, rows: Tensor) -> Tensor:
        """The cells [R] as [R, G] float32."""
        wanted, back = np.unique(rows.numpy(), return_inverse=True)  # a file is read in order, each row once
        found = self.values[wanted]
        dense = found.toarray() if hasattr(found, "toarray") else np.asarray(found)
        return torch.from_numpy(np.ascontiguousarray(dense[back], np.float32))

    def all(self) -> Tensor:
        """All of them, [N, G] float32."""
        count = self.values.shape[0]
        places = [torch.arange(start, min(start + CHUNK, count)) for start in range(0, count, CHUNK)]
        return torch.cat([self.read(rows) for rows in places])


def _opened(path: str, key: str) -> Any:
    try:
        from anndata import read_h5ad
    except ImportError as error:
        raise UserError("dataset=anndata: needs anndata, pip install 'kd-lab[biology]'") from error
    file = Path(path).expanduser()
    if not file.is_file():
        raise UserError(f"{key}: there is no such file, check the path.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of how older files lay their graphs out
            return read_h5ad(file, backed="r")
    except Exception as error:  # h5py and anndata raise of many kinds for what is none of theirs
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{key}: damaged or no .h5ad file ({reason}), save it again with write_h5ad.") from error
