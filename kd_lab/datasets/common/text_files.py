"""Rows of text and their labels, out of a file that pandas reads: CSV, TSV, JSON lines, parquet."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from kd_lab.datasets.common.files import beginning
from kd_lab.errors import UserError, choices

if TYPE_CHECKING:
    from pandas import DataFrame

TEXT_NAMES = ("text", "sentence", "sentence1", "review", "content", "document", "premise", "question", "body")
LABEL_NAMES = ("label", "labels", "class", "category", "target", "topic", "sentiment")
"""What these columns are called where nobody says; the first that is there, in any case."""
SEPARATORS = (",", ";", "\t", "|")


class Columns(NamedTuple):
    """Which columns are read, by name; None: the one with a usual name. second: of pairs of texts."""

    text: str | None = None
    label: str | None = None
    second: str | None = None


@dataclass(frozen=True)
class Rows:
    """Texts, one for each sample or two for each, and what the file says of their classes, empty where it is nothing.

    names: the classes in their order, where the file knows it. columns: those that were read.
    """

    texts: list[str]
    labels: list[str]
    columns: Columns
    second: list[str] | None = None
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.texts)

    def kept(self, rows: Sequence[int]) -> "Rows":
        """Some of them."""
        second = None if self.second is None else [self.second[row] for row in rows]
        texts, labels = ([column[row] for row in rows] for column in (self.texts, self.labels))
        return replace(self, texts=texts, labels=labels, second=second)


class Reading(NamedTuple):
    """How a file is read: see `kd_lab.datasets.text.Text`."""

    separator: str | None = None
    header: Sequence[str] | None = None
    encoding: str = "utf-8"


def read_rows(path: str, setting: str, wanted: Columns, reading: Reading, *, labelled: bool = True) -> Rows:
    """The texts and labels of a file.

    Args:
        path: told apart by how it ends.
        setting: what messages start with, as in `dataset.path=my.csv`.
        wanted: the columns.
        reading: how.
        labelled: whether labels are read.

    Raises:
        UserError: the file is missing, empty, of another kind or encoding, or lacks a column.
    """
    (frame,) = frames(path, setting, reading)
    return rows_of(frame, setting, wanted, labelled=labelled)


def rows_of(frame: "DataFrame", setting: str, wanted: Columns, *, labelled: bool = True) -> Rows:
    """The texts and labels of a table; see `read_rows`.

    Raises:
        UserError: there is no row, or a column is missing.
    """
    if not len(frame):
        raise UserError(f"{setting}: it holds no row; expected texts with their labels.")
    names = [str(name) for name in frame.columns]
    frame = frame.set_axis(names, axis=1)
    text = _column(names, "text", wanted.text, TEXT_NAMES, setting)
    second = None if wanted.second is None else _column(names, "second", wanted.second, (), setting)
    label = _column(names, "label", wanted.label, LABEL_NAMES, setting) if labelled else None
    used = [name for name in (text, second, label) if name is not None]
    if len({*used}) < len(used):
        raise UserError(f"{setting}: {', '.join(used)} are read as text and label; expected a column for each.")
    others = None if second is None else words(frame[second])
    labels = [""] * len(frame) if label is None else words(frame[label])
    return Rows(words(frame[text]), labels, Columns(text, label, second), others)


def _column(names: list[str], what: str, wanted: str | None, usual: Sequence[str], setting: str) -> str:
    if wanted is not None:
        if wanted not in names:
            raise UserError(f"{setting}: it has no column {wanted} (dataset.{what}); {choices(wanted, names)}")
        return wanted
    lower = {name.lower().strip(): name for name in reversed(names)}
    found = next((lower[name] for name in usual if name in lower), None)
    if found is not None:
        return found
    shown = ", ".join(name if len(name) <= 30 else f"{name[:27]}..." for name in names[:8])
    raise UserError(
        f"{setting}: expected a column with the {what}, but it has {shown}; name it by dataset.{what}=NAME, or, if its "
        "first line is no header, name all columns by dataset.header=[text,label]."
    )


def words(column: Any) -> list[str]:
    """As text; what is missing is empty, and 3.0, which a missing label makes of 3, is 3."""
    values = column.tolist()
    return [_word(value) for value in values]


def _word(value: Any) -> str:
    if value is None or (isinstance(value, float) and value != value):  # noqa: PLR0124 (NaN)
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip()


def frames(path: str, setting: str, reading: Reading, size: int | None = None) -> Iterator["DataFrame"]:
    """The rows of a file, at most `size` at a time; None: all at once.

    Raises:
        UserError: see `read_rows`.
    """
    file = Path(path).expanduser()
    start = beginning(file, setting)
    kind = file.suffix.lower()
    if kind in {".parquet", ".pq"} or start.startswith(b"PAR1"):
        return _parquet(file, setting, size)
    if kind in {".jsonl", ".ndjson", ".json"}:
        return _lines(file, setting, reading, size)
    if kind not in {".csv", ".tsv", ".txt"}:
        raise UserError(
            f"{setting}: expected a file that ends in .csv, .tsv, .txt, .jsonl or .parquet, with a column of texts and "
            "one of labels."
        )
    return _table(file, setting, reading, "\t" if kind == ".tsv" else ",", size)


def _parquet(file: Path, setting: str, size: int | None) -> Iterator["DataFrame"]:
    import pandas as pd
    from pyarrow.parquet import ParquetFile  # type: ignore[import-untyped]

    try:
        if size is None:
            yield pd.read_parquet(file)
            return
        with ParquetFile(file) as opened:
            for batch in opened.iter_batches(size):
                yield batch.to_pandas()
    except (OSError, ValueError) as error:
        raise UserError(f"{setting}: cannot be read as parquet ({_reason(error)}).") from error


def _lines(file: Path, setting: str, reading: Reading, size: int | None) -> Iterator["DataFrame"]:
    import pandas as pd

    try:
        found = pd.read_json(
            file, lines=True, dtype=False, convert_dates=False, encoding=_encoding(reading), chunksize=size
        )
        yield from [found] if size is None else found
    except UnicodeError as error:
        raise _not_in(file, setting, reading) from error
    except (ValueError, TypeError) as error:
        raise UserError(
            f"{setting}: cannot be read as JSON lines ({_reason(error)}); expected an object in each line, such as "
            '{"text": "...", "label": "..."}.'
        ) from error


def _table(file: Path, setting: str, reading: Reading, separator: str, size: int | None) -> Iterator["DataFrame"]:
    import pandas as pd

    given = reading.separator or separator
    given = "\t" if given == "\\t" else given
    _check_separator(file, setting, given)
    header = {"header": None, "names": list(reading.header)} if reading.header else {}
    try:
        # Every cell as it stands: a text may be "NA", and a label "01".
        found = pd.read_csv(
            file,
            sep=given,
            dtype=str,
            keep_default_na=False,
            encoding=_encoding(reading),
            chunksize=size,
            **header,
        )
        for frame in [found] if size is None else found:
            _check_index(frame, setting, given)
            yield frame
    except UserError:
        raise
    except UnicodeError as error:
        raise _not_in(file, setting, reading) from error
    except LookupError as error:
        raise UserError(
            f"dataset.encoding={reading.encoding}: no such encoding; expected utf-8, latin-1 ..."
        ) from error
    except (pd.errors.ParserError, pd.errors.EmptyDataError, ValueError) as error:
        raise UserError(
            f"{setting}: cannot be read as a table with {given!r} between its columns ({_reason(error)}); set "
            "dataset.separator, or put quotes around texts that hold it."
        ) from error


def _check_index(frame: "DataFrame", setting: str, separator: str) -> None:
    import pandas as pd

    if not isinstance(frame.index, pd.RangeIndex):  # pandas took a column that has no name for the names of the rows
        raise UserError(
            f"{setting}: its lines hold more columns than the {len(frame.columns)} that have names; put quotes around "
            f"texts that hold {separator!r}, or set dataset.separator."
        )


def _check_separator(file: Path, setting: str, given: str) -> None:
    """A first line that is one name when cut there, and several when cut elsewhere, is cut elsewhere."""
    with file.open("rb") as stream:
        line = stream.readline().decode("latin-1").strip()  # all separators are the same in every encoding
    other = next((one for one in SEPARATORS if one in line), None)
    if given not in line and other is not None:
        told = "\\t" if other == "\t" else other
        raise UserError(
            f"{setting}: its first line, {line[:60]}, is one column when cut at {given!r}; if {other!r} stands between "
            f'columns, set dataset.separator="{told}".'
        )


def _encoding(reading: Reading) -> str:
    """A mark that some programs put before UTF-8 is no part of the first column's name."""
    return "utf-8-sig" if reading.encoding.lower().replace("_", "-") in {"utf-8", "utf8"} else reading.encoding


def _not_in(file: Path, setting: str, reading: Reading) -> UserError:
    """Says in which line the encoding is another one."""
    for number, line in enumerate(file.read_bytes().split(b"\n"), start=1):
        try:
            line.decode(_encoding(reading))
        except UnicodeError:
            return UserError(
                f"{setting}: line {number} is not {reading.encoding}; save the file so, or say what it is, such as "
                "dataset.encoding=latin-1."
            )
    return UserError(f"{setting}: it is not {reading.encoding}; say what it is by dataset.encoding.")


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].removeprefix("Error tokenizing data. ").rstrip(".")[:160]
