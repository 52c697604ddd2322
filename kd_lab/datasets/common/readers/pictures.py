"""Pictures out of files like those of `dataset=image_folder` and `hf_images`, shown as a network learned from them.

Legend: B batch.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from kd_lab.datasets.common.hub import TABLES, PictureTable, Table, load_splits
from kd_lab.datasets.common.pictures import PictureFiles, PictureSource, Shown
from kd_lab.errors import UserError, choices
from kd_lab.outside.nodes import node_of
from kd_lab.types import Read

MOST = 64
"""So many pictures at a time: those of ImageNet's size need 600 kB each in float32, and far more inside a network."""


class PicturesOf:
    """Reads a picture, all below a folder in the order of their names, or a table, to [B, 3, size, size] uint8.

    Args:
        size: see `Shown`.
        short: the same.
        column: that of the pictures in a table; None: there are no tables.
    """

    def __init__(self, *, size: int, short: int, column: str | None = None) -> None:
        self._shown, self._column = Shown(size, short), column

    @property
    def node(self) -> dict[str, Any]:
        """See `kd_lab.types.Reader`."""
        return node_of(self, size=self._shown.size[0], short=self._shown.short, column=self._column)

    @property
    def meaning(self) -> object:
        """Places: they need no names."""
        return None

    def batches(self, path: str, size: int) -> Iterator[Read]:
        """See `kd_lab.types.Reader`; pictures of a table have no names.

        Raises:
            UserError: there is no picture, or one cannot be read.
        """
        found, names, count = self._found(path)
        for rows in torch.split(torch.arange(count), min(size, MOST)):
            yield Read(found.read(rows), names[int(rows[0]) : int(rows[-1]) + 1])

    def _found(self, path: str) -> tuple[PictureSource, list[str], int]:
        """The pictures, their names and how many they are."""
        file = Path(path).expanduser()
        folder, names = (file.parent, [file.name]) if file.is_file() else (file, _below(file))
        if self._column is not None and (file.suffix in TABLES or (file.is_dir() and not names)):
            table = self._table(file, path)
            return table, [], len(table)
        if not file.exists():
            raise UserError(f"{path}: there is no such file or folder, check the path.")
        if not names:
            raise UserError(f"{path}: expected a picture, or a folder with pictures in it, and there is none.")
        todo = "repair it, or take it away"
        return PictureFiles(folder, names, self._shown, path, todo=todo), names, len(names)

    def _table(self, file: Path, path: str) -> PictureTable:
        """All splits of a dataset of Hugging Face, one behind the other."""
        assert self._column is not None
        splits = load_splits(str(file), None, path, "hf")
        missing = next((one for one in splits.values() if self._column not in one.features), None)
        if missing is not None:
            raise UserError(f"{path}: no column {self._column}; {choices(self._column, list(missing.features))}")
        return PictureTable([Table.of_pictures(one, self._column) for one in splits.values()], self._shown, path)


def _below(folder: Path) -> list[str]:
    from torchvision.datasets.folder import IMG_EXTENSIONS

    found = [file for file in folder.rglob("*") if file.suffix.lower() in IMG_EXTENSIONS and file.is_file()]
    return sorted(str(file.relative_to(folder)) for file in found)
