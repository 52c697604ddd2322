"""A table from a CSV, TSV or parquet file, and one sentence for each thing that can be wrong with it.

Of a text file every value stays the text that it is: which columns hold numbers is decided later, by all of them.
"""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kd_lab.datasets.common.files import beginning
from kd_lab.errors import UserError
from kd_lab.outside.memory import check_memory

if TYPE_CHECKING:
    import pandas as pd

SEPARATORS = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
NAMES = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a bar"}
MISSING = ("?",)
"""Beside what pandas takes for missing: nothing at all, NA, NaN, N/A, null, None."""
GROWTH = 10
"""Bytes of memory that a byte of a text file becomes at most: each value is a text of its own for a while."""


def read_frame(path: str, setting: str, separator: str | None = None, missing: tuple[str, ...] = MISSING) -> Any:
    """The rows [N] of a file, columns by name.

    Args:
        path: .csv, .tsv, .tab or .parquet; any other file is read as text where a separator is given.
        setting: what messages start with, as in `dataset.path=my.csv`.
        separator: between the values of a line; None: a comma, a tab in .tsv and .tab.
        missing: texts that stand for no value, beside pandas' own.

    Raises:
        UserError: the file is missing, empty, damaged, of another kind or larger than the memory; its first line is no
            line of names, a name comes twice, or the values are separated by something else.
    """
    file = Path(path).expanduser()
    ending = file.suffix.lower()
    beginning(file, setting)
    check_memory(file.stat().st_size * GROWTH, setting)
    if ending == ".parquet":
        frame = _parquet(file, setting)
    elif ending in SEPARATORS or separator is not None:
        (frame,) = _text(file, setting, separator or SEPARATORS[ending], missing)
    else:
        raise UserError(
            f"{setting}: a table is a .csv, .tsv or .parquet file, but this ends in {ending or 'nothing'}; rename it, "
            "or say what separates its values, such as dataset.separator=','."
        )
    if len(frame) == 0:
        raise UserError(f"{setting}: it holds a line of names and no row, save it again.")
    return frame


def read_frames(path: str, setting: str, separator: str | None, missing: tuple[str, ...], size: int) -> Iterator[Any]:
    """The rows of a file, of text at most `size` at a time: it may be larger than the memory; see `read_frame`."""
    file = Path(path).expanduser()
    ending = file.suffix.lower()
    if ending == ".parquet" or (ending not in SEPARATORS and separator is None):
        yield read_frame(path, setting, separator, missing)
        return
    beginning(file, setting)
    for frame in _text(file, setting, separator or SEPARATORS[ending], missing, size):
        if len(frame) == 0:
            raise UserError(f"{setting}: it holds a line of names and no row, save it again.")
        yield frame


def _parquet(file: Path, setting: str) -> "pd.DataFrame":
    import pandas as pd

    try:
        frame = pd.read_parquet(file)
    except ImportError as error:
        raise UserError(f"{setting}: parquet needs pyarrow, pip install pyarrow.") from error
    except (OSError, ValueError) as error:  # pyarrow's own are both
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{setting}: damaged or no parquet file ({reason}), save it again.") from error
    frame.columns = [str(name) for name in frame.columns]
    _check_names(list(frame.columns), setting)
    return frame


def _text(
    file: Path, setting: str, separator: str, missing: tuple[str, ...], size: int | None = None
) -> Iterator["pd.DataFrame"]:
    """At most so many rows at a time; None: all at once."""
    import pandas as pd

    if len(separator) != 1:
        raise UserError(f"dataset.separator={separator}: expected one character, such as ';'.")
    try:
        _check_header(_first_lines(file, separator), setting, separator)
        found = pd.read_csv(
            file,
            sep=separator,
            dtype=str,
            na_values=list(missing),
            skipinitialspace=True,
            index_col=False,
            encoding="utf-8-sig",
            on_bad_lines="error",
            chunksize=size,
        )
        for frame in [found] if size is None else found:
            yield frame.rename(columns=str.strip)
    except UnicodeDecodeError as error:
        raise UserError(f"{setting}: not in UTF-8 (byte {error.start}), save it again as text in UTF-8.") from error
    except (pd.errors.ParserError, pd.errors.EmptyDataError, csv.Error, pd.errors.ParserWarning) as error:
        reason = " ".join(str(error).split()).removeprefix("Error tokenizing data. C error: ")
        raise UserError(
            f"{setting}: its lines are not those of one table ({reason}), expected as many values in each as there are "
            "names; correct it, or set dataset.separator."
        ) from error


def _first_lines(file: Path, separator: str) -> list[list[str]]:
    """At most two, cut into their values."""
    with file.open(encoding="utf-8-sig", newline="") as stream:
        lines = csv.reader(stream, delimiter=separator, skipinitialspace=True)
        return [line for line, _ in zip(lines, range(2), strict=False)]


def _check_header(lines: list[list[str]], setting: str, separator: str) -> None:
    """Look at the first line before it is taken for names."""
    names = [name.strip() for name in lines[0]] if lines else []
    other = next((s for s in NAMES if s != separator and len(names) < 2 and s in "".join(names)), None)
    if other is not None:
        raise UserError(
            f"{setting}: its first line is one value when cut at {NAMES.get(separator, separator)}, and holds "
            f"{NAMES[other]}; set dataset.separator={_typed(other)}."
        )
    numbers = [name for name in names if _is_number(name)]
    if numbers:
        raise UserError(
            f"{setting}: its first line holds values, such as {numbers[0]}, where the names of the columns are "
            "expected; put a line of names on top."
        )
    if "" in names:
        raise UserError(f"{setting}: column {names.index('') + 1} has no name, write one into the first line.")
    _check_names(names, setting)
    wide = next((len(line) for line in lines[1:] if len(line) > len(names)), None)
    if wide is not None:
        raise UserError(f"{setting}: {len(names)} names, but {wide} values in the first row; expected as many of both.")


def _check_names(names: list[str], setting: str) -> None:
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"{setting}: {names.count(twice)} columns are called {twice}, give each a name of its own.")


def _typed(separator: str) -> str:
    r"""As a shell takes it: `"\t"` for a tab."""
    return r'"\t"' if separator == "\t" else f"'\"{separator}\"'"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text.strip().lower() not in {"nan", "inf", "infinity"}
