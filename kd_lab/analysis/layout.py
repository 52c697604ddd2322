"""A table at the width of a terminal: whole where it fits; else shorter, in parts, or as a list. No digit is cut."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from rich import box
from rich.cells import cell_len
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from kd_lab.analysis.statistics import BETTER, NOT_DISTINGUISHABLE, NOT_TESTED, WORSE
from kd_lab.analysis.wording import DASH
from kd_lab.outside.text import visible

LIST_BELOW = 72
"""In fewer columns a table is a list."""
LABEL = 12
"""A name is folded to no less than this."""
STYLES = {BETTER: "green", WORSE: "red"}
SHORT = {NOT_DISTINGUISHABLE: "n.d.", NOT_TESTED: "n.t."}


@dataclass(frozen=True)
class TextTable:
    """A title, a line below it, a header, and rows.

    words: so many columns, the first ones, hold words, which may be folded.
    spare: by place the columns that a narrow terminal can do without, the least needed first, and what they are called.
    """

    title: str
    below: str
    header: list[str]
    rows: list[list[str]]
    words: int = 1
    spare: dict[int, str] = field(default_factory=dict)


def drawn(table: TextTable, width: int) -> Iterator[RenderableType]:
    """What is printed of it in so many columns."""
    table = replace(
        table, header=list(map(visible, table.header)), rows=[list(map(visible, row)) for row in table.rows]
    )
    if width < LIST_BELOW:
        yield from _listed(table)
        return
    shown, every = table, list(range(len(table.header)))
    if _needed(table, every) > width:
        shown = replace(table, rows=[[SHORT.get(text, text) for text in row] for row in table.rows])
    left_out: list[int] = []
    for place in table.spare:
        if _needed(shown, _without(every, left_out)) > width:
            left_out.append(place)
    for part in _parts(shown, _without(every, left_out), width):
        yield _grid(shown, part)
    yield from _foot(table, shown, left_out)


def _without(places: Iterable[int], left_out: Sequence[int]) -> list[int]:
    return [place for place in places if place not in left_out]


def _needed(table: TextTable, places: Sequence[int]) -> int:
    """The width that these columns need; names can be folded."""
    widths = [
        max(cell_len(text) for text in (table.header[place], *(row[place] for row in table.rows))) for place in places
    ]
    widths = [min(width, LABEL) if place < table.words else width for place, width in zip(places, widths, strict=True)]
    return sum(widths) + 2 * len(places) + 1


def _parts(table: TextTable, places: Sequence[int], width: int) -> list[list[int]]:
    """The columns of as many tables as it takes, each with the names."""
    names, parts = list(places[: table.words]), [list[int]()]
    for place in places[table.words :]:
        if parts[-1] and _needed(table, [*names, *parts[-1], place]) > width:
            parts.append([])
        parts[-1].append(place)
    return [[*names, *part] for part in parts]


def _grid(table: TextTable, places: Sequence[int]) -> Table:
    grid = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for place in places:
        name = place < table.words
        left = name or table.header[place] == "verdict"
        grid.add_column(table.header[place], justify="left" if left else "right", no_wrap=not name, overflow="fold")
    for row in table.rows:
        grid.add_row(*(Text(row[place], style=STYLES.get(row[place], "")) for place in places))
    return grid


def _foot(table: TextTable, shown: TextTable, left_out: Sequence[int]) -> Iterator[str]:
    """What was shortened, and what was left out."""
    every = {text for row in table.rows for text in row} if shown is not table else set()
    told = [f"{short}: {word}" for word, short in SHORT.items() if word in every]
    told += [f"a wider terminal also shows {', '.join(table.spare[place] for place in left_out)}"] if left_out else []
    if told:
        yield f" {'; '.join(told)}"


def _listed(table: TextTable) -> Iterator[Text]:
    """One block for each row: its name, and below it whatever it has."""
    width = max(map(cell_len, table.header))
    yield Text("")
    for row in table.rows:
        yield Text(row[0], style="bold")
        for name, text in zip(table.header[1:], row[1:], strict=True):
            if text != DASH:
                yield Text(f"  {name}{' ' * (width - cell_len(name))}  ").append(text, style=STYLES.get(text, ""))
        yield Text("")
