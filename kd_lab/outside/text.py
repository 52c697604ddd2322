r"""What leaves for a terminal, a table, a spreadsheet, a page of MLflow: names say nothing there but themselves.

Names of runs, studies, parameters and tags are written by others. As they are, they could move the cursor of a
terminal, end the cell of a table, compute in a spreadsheet, or fetch an image into a page. What leaves goes through the
function of its exit; each leaves harmless text as it is:

    terminal, log     visible     `\x1b[2J` in place of what clears the screen
    one line, a cell  line, cell  no line break; `\|` inside a table of Markdown
    code in Markdown  code        whatever backticks are in it
    Markdown          markdown    no HTML, no link, no image, no mention
    CSV               csv         no formula

Sources: Unicode's report 36 on bidirectional text; CommonMark 0.31 and showdown 1.9, which renders MLflow's notes;
OWASP's page "CSV Injection".
"""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pandas import DataFrame, Series

UNSEEN = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f"  # a terminal's controls, all but newline and tab
    r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # what changes the direction of the text around it
    r"\u2028\u2029"  # line breaks that only some programs see
    r"\ud800-\udfff]"  # bytes of a command line that are no UTF-8: printing them fails
)

TAG = re.compile(r"<(?=[A-Za-z/!?])")
TARGET = re.compile(r"\](\s*)\(")
"""Of a link or an image; showdown takes spaces between the two."""
DEFINITION = re.compile(r"^([ \t>*+\-\d.)]*)\[", re.MULTILINE)
"""The start of `[name]: address`, which makes a link of each `[name]`; in a list or a quotation too."""
FENCE = re.compile(r"^([ \t>*+\-\d.)]*)(?=```|~~~)", re.MULTILINE)
"""Turns all that follows into code."""
MENTION = re.compile(r"(?<!\S)@(?=\w)")
"""`@name`, in showdown a link to GitHub."""

NUMBER = r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
HARMLESS = re.compile(rf"(?:{NUMBER}|-)\Z")
FORMULA = re.compile(
    r"(?:\A|(?<=[;\t\n]))"  # the second: a spreadsheet that is told, or guesses, another separator cuts there
    rf"(?![^\S\t\n]*(?:{NUMBER}|-)(?:[;\t\n]|\Z))"
    r"(?=(?:[^\S\t\n]|[\"'])*[=+\-@\t\uff1d\uff0b\uff0d\uff20])"  # the last four: of full width, to Excel the same
)


def visible(text: str) -> str:
    r"""The text with its control characters, changes of direction and lone surrogates as escapes.

    Examples:
        >>> print(visible("\x1b[2J"))
        \x1b[2J
    """
    return UNSEEN.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    number = ord(found[0])
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"


def line(text: str) -> str:
    """The text on one line."""
    return visible(text).replace("\n", " ")


def cell(text: str) -> str:
    r"""The text inside a cell of a table in Markdown.

    Examples:
        >>> print(cell("a|b"))
        a\|b
    """
    # Backslashes before it are doubled: the last one would belong to the backslash before it, and the cell would end.
    return re.sub(r"(\\*)\|", r"\1\1\\|", line(text))


def code(text: str) -> str:
    """The text as code inside a line of Markdown; the fence is longer than any run of backticks in it.

    Examples:
        >>> print(code("a`b"))
        ``a`b``
    """
    told = line(text)
    fence = "`" * (1 + max(map(len, re.findall("`+", told)), default=0))
    space = " " if told.startswith("`") or told.endswith("`") else ""
    return f"{fence}{space}{told}{space}{fence}"


def markdown(text: str) -> str:
    """Markdown in which words of others are no HTML, no link, no image, no mention and no open block of code.

    Emphasis and headings stay possible, and so does an address that stands there to be read. Applied twice it is the
    same as once.

    Examples:
        >>> print(markdown("p < 0.05, <img src=x>, ![x](http://y)"))
        p < 0.05, &lt;img src=x>, ![x]\\(http://y)
    """
    told = TAG.sub("&lt;", visible(text))
    told = TARGET.sub(r"]\1\\(", told)
    told = DEFINITION.sub(r"\1\\[", told)
    told = FENCE.sub(r"\1\\", told)
    return MENTION.sub(r"\\@", told)


def csv(frame: "DataFrame") -> str:
    """The table as CSV in which no text is a formula, neither in a cell nor in a header.

    An apostrophe stands before a text that a spreadsheet would compute; a plain number and a lone dash are none.
    """
    told = frame.copy()
    told.columns = [_cell(name) for name in frame.columns]
    for place in range(frame.shape[1]):
        told.isetitem(place, _column(frame.iloc[:, place]))
    return str(told.to_csv(index=False))


def _column(values: "Series") -> "Series":
    import pandas as pd

    if values.dtype.kind in "biufcmM":
        return values
    return pd.Series([_cell(value) for value in values], values.index, dtype=object)


def _cell(value: object) -> object:
    return FORMULA.sub("'", visible(value)) if isinstance(value, str) and not HARMLESS.match(value) else value


def listed(words: Sequence[str], last: str = "and") -> str:
    """`the teacher, the baseline and the student`; last: what stands before the last one."""
    return f" {last} ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def duration(seconds: float) -> str:
    """`42 s`, `7 min`, `2 h 5 min`.

    Examples:
        >>> duration(95)
        '2 min'
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def in_bytes(size: float) -> str:
    """A number of bytes as a person reads it, a thousand to a step.

    Examples:
        >>> in_bytes(600), in_bytes(48_000), in_bytes(6_012_954_214)
        ('600 bytes', '48 KB', '6.0 GB')
        >>> in_bytes(256**500)  # as a damaged header may announce
        'over 1e24 bytes'
    """
    if size > 1e24:
        return "over 1e24 bytes"
    for unit in ("bytes", "KB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.1f} GB"
