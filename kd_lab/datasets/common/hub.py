"""The `datasets` library of Hugging Face, and its tables that hold pictures and classes."""

import hashlib
import io
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from kd_lab.datasets.common.pictures import DAMAGE, PictureSource, Shown, reason_of
from kd_lab.datasets.common.sampled import SMALL, evenly
from kd_lab.errors import UserError, choices
from kd_lab.types import UNLABELLED

TABLES = (".parquet", ".arrow")
"""Files that hold a split."""


def load_splits(path: str, config: str | None, setting: str, extra: str) -> Mapping[str, Any]:
    """The splits of a dataset by name; one that has none is `train`.

    Args:
        path: a folder, as `save_to_disk` writes it or with parquet, CSV, JSON files or pictures; a parquet file; or a
            name on the Hub.
        config: which of its configurations.
        setting: what messages start with.
        extra: what of kd-lab brings the library: `hf`, `text`.

    Raises:
        UserError: the library is not installed, or finds no such dataset.
    """
    try:
        import datasets
    except ImportError as error:
        raise UserError(f"{setting}: needs the datasets library; pip install 'kd-lab[{extra}]'") from error
    folder = Path(path).expanduser()
    datasets.disable_progress_bars()
    datasets.logging.set_verbosity_error()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it counts its attempts
    try:
        if (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():
            found = datasets.load_from_disk(str(folder))
        elif folder.is_file() and folder.suffix in TABLES:
            found = datasets.load_dataset(folder.suffix[1:], data_files=str(folder))
        else:
            found = datasets.load_dataset(str(folder) if folder.is_dir() else path, name=config)
    except Exception as error:  # of the network, of the Hub, of pyarrow, of what stands in a folder
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(
            f"{setting}: the datasets library cannot load it ({reason}); expected a folder that holds a dataset, or "
            "the name of one of the Hub while online."
        ) from error
    return dict(found) if isinstance(found, Mapping) else {"train": found}


@dataclass(frozen=True)
class Table:
    """A split: its pictures as they are stored, its targets [N] int64, and the names of the classes."""

    rows: Any
    column: str
    targets: Tensor
    classes: list[str]

    def __len__(self) -> int:
        return len(self.targets)

    @classmethod
    def of(
        cls, split: Any, columns: tuple[str | None, str | None], setting: str, like: "Table | None" = None
    ) -> "Table":
        """The pictures and classes of a split.

        Args:
            split: of the library.
            columns: of pictures and of classes; None: found by their kind.
            setting: what messages start with.
            like: the split whose classes it has to have.

        Raises:
            UserError: no such column, or several that could be it; a class that is not known.
        """
        import datasets

        features = split.features
        image = _column(features, columns[0], "image", datasets.Image, setting)
        label = _column(features, columns[1], "label", datasets.ClassLabel, setting)
        targets, classes = _targets(split[label][:], features[label], label, setting, like)
        return cls(_undecoded(split, image), image, targets, classes)

    @classmethod
    def of_pictures(cls, split: Any, column: str) -> "Table":
        """A split without its classes."""
        return cls(_undecoded(split, column), column, torch.full((len(split),), UNLABELLED), [])

    def none(self) -> "Table":
        """No row of it."""
        return Table(self.rows.select([]), self.column, self.targets[:0], self.classes)

    def raw(self, row: int) -> Mapping[str, Any]:
        """The bytes of a picture, or the path of its file."""
        found: Mapping[str, Any] = self.rows[row][self.column]
        return found


def _undecoded(split: Any, column: str) -> Any:
    """The pictures of a split as they are stored."""
    import datasets

    return split.select_columns([column]).cast_column(column, datasets.Image(decode=False))


def _column(features: Mapping[str, Any], named: str | None, what: str, kind: type, setting: str) -> str:
    if named is not None:
        if named not in features:
            raise UserError(f"dataset.{what}={named}: there is no such column; {choices(named, list(features))}")
        return named
    found = [name for name, feature in features.items() if isinstance(feature, kind)]
    if not found and what == "label" and what in features:
        return what
    if len(found) != 1:
        many = f"several could be it ({', '.join(found)})" if found else "none has that kind"
        raise UserError(
            f"{setting}: of its columns {', '.join(features)}, {many}; say which with dataset.{what}=COLUMN."
        )
    return found[0]


def _targets(
    values: Sequence[Any], feature: Any, label: str, setting: str, like: Table | None
) -> tuple[Tensor, list[str]]:
    """Numbers as the column has them; text is numbered by name."""
    missing = [row for row, value in enumerate(values) if value is None]
    if missing:
        raise UserError(f"{setting}: column {label} has no class in row {missing[0]}, expected one for each picture.")
    names = getattr(feature, "names", None)
    if names is None and all(isinstance(value, str) for value in values):
        names = like.classes if like is not None else sorted({*values})
        unknown = sorted({*values} - {*names})
        if unknown:
            raise UserError(f"{setting}: column {label} has the class {unknown[0]}, which train has not.")
        numbers = {name: number for number, name in enumerate(names)}
        return torch.tensor([numbers[value] for value in values]), list(names)
    if not all(type(value) is int and value >= 0 for value in values):
        raise UserError(f"{setting}: column {label} holds {values[0]!r:.60}, expected whole numbers from 0, or text.")
    targets = torch.tensor(values, dtype=torch.int64)
    classes = list(names) if names else [str(number) for number in range(int(targets.max()) + 1)]
    if like is not None and (
        (len(targets) and int(targets.max()) >= len(like.classes)) or (names and names != like.classes)
    ):
        raise UserError(f"{setting}: the splits have different classes in column {label}, expected the same ones.")
    return targets, classes


class PictureTable(PictureSource):
    """Pictures of several splits, one behind the other."""

    def __init__(self, tables: Sequence[Table], shown: Shown, setting: str) -> None:
        super().__init__(shown)
        self._tables, self._setting = tables, setting

    def __len__(self) -> int:
        return sum(map(len, self._tables))

    def picture(self, row: int) -> Image.Image:
        """See `PictureSource.picture`."""
        try:
            with Image.open(io.BytesIO(self._bytes(row))) as picture:
                return picture.convert("RGB")
        except DAMAGE as error:
            raise UserError(
                f"{self._setting}: row {row} cannot be read as a picture ({reason_of(error)}); leave it out."
            ) from error

    def _bytes(self, row: int) -> bytes:
        for table in self._tables:
            if row < len(table):
                raw = table.raw(row)
                content: bytes = raw["bytes"] if raw["bytes"] is not None else Path(raw["path"]).read_bytes()
                return content
            row -= len(table)
        raise IndexError(row)

    def digest(self) -> bytes:
        """A sha256 over classes and pictures: all if they seem to have at most `SMALL` bytes, else some."""
        count = sum(map(len, self._tables))
        digest = hashlib.sha256("\0".join(self._tables[0].classes).encode())
        some = evenly(count).tolist()
        sizes = [len(self._bytes(row)) for row in some]
        for row in range(count) if sum(sizes) / len(sizes) * count <= SMALL else some:
            digest.update(hashlib.sha256(self._bytes(row)).digest())
        return digest.digest()
