"""`kd-lab compare`: the arms of one or more studies side by side, and which differences are real."""

import shlex
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from kd_lab.cli.commands import tell_waiting
from kd_lab.errors import UserError, choices
from kd_lab.outside.address import without_login
from kd_lab.outside.text import visible
from kd_lab.store.location import LOCAL

if TYPE_CHECKING:
    import pandas as pd

    from kd_lab.analysis.comparison import Comparisons

FORMATS = ["table", "markdown", "csv"]
ARMS, STUDENTS, MARKDOWN = "arms.csv", "students.csv", "comparison.md"


@dataclass
class Options:
    """What the command line says."""

    studies: list[str] = field(default_factory=list)
    uri: str = ""
    metric: str = ""
    against: str | None = None
    mix: list[str] = field(default_factory=list)
    where: dict[str, list[str]] = field(default_factory=dict)
    format: str = FORMATS[0]
    out: Path | None = None


def compare(arguments: list[str]) -> int:
    """`kd-lab compare [STUDY ...] [tracking.uri=URI] [metric=KEY] [against=ARM] [mix=KEY,...] [where=KEY=VALUE]`."""
    options = parse(arguments[1:])
    from kd_lab.analysis.comparison import ACCURACY, compare_each
    from kd_lab.analysis.printed import markdown, show
    from kd_lab.analysis.runs import pairs, runs
    from kd_lab.outside.text import csv

    uri = options.uri or LOCAL
    tell_waiting(uri)
    studies = options.studies or _only_study(uri)
    comparisons = compare_each(
        pairs(runs(studies, uri)),
        options.metric or ACCURACY,
        against=options.against,
        mix=options.mix,
        where=options.where,
    )
    if options.out is not None:
        _prepare(options.out)
    name = ", ".join(studies)
    arms, students = (
        _together(tables) for tables in zip(*((c.arms, c.students) for c in comparisons.each), strict=True)
    )
    if options.format == "csv":
        print(csv(arms), end="")  # noqa: T201
    elif options.format == "markdown":
        print(markdown(comparisons, name), end="")  # noqa: T201
    else:
        from kd_lab.outside.console import console

        show(comparisons, console(), name)
    if options.out is not None:
        texts = {ARMS: csv(arms), STUDENTS: csv(students), MARKDOWN: markdown(comparisons, name)}
        page = _write(options.out, texts, comparisons, uri, shlex.join(["kd-lab", *arguments]))
        if options.format == FORMATS[0]:
            print(visible(f"Written: {', '.join(str(options.out / file) for file in texts)}"))  # noqa: T201
            print(visible(f"Open {page}; its figures are beside it"))  # noqa: T201
    return 0


def _together(tables: Sequence["pd.DataFrame"]) -> "pd.DataFrame":
    """The tables of all groups as one, which the column `group` tells apart."""
    import pandas as pd

    return pd.concat(tables, ignore_index=True)


def _prepare(folder: Path) -> None:
    """Make the folder and try to write there, before anything is printed.

    Raises:
        UserError: it cannot be made, or nothing can be written there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (FileExistsError, NotADirectoryError) as error:
        raise UserError(
            f"--out {folder}: there is a file of this name; expected a folder, such as --out results"
        ) from error
    except OSError as error:
        raise UserError(f"--out {folder}: cannot be written ({error.strerror}); expected a folder of yours") from error


def _write(folder: Path, texts: Mapping[str, str], comparisons: "Comparisons", uri: str, command: str) -> Path:
    """Write the page and the tables.

    Raises:
        UserError: the disk is full, or a file of these names is not yours.
    """
    from kd_lab.analysis.page import page_of

    try:
        page = page_of(comparisons, uri, folder, command)
        for file, text in texts.items():
            (folder / file).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"--out {folder}: cannot be written ({error.strerror or error})") from error
    return page


def parse(arguments: Sequence[str]) -> Options:
    """The words of the command line, in any order.

    Raises:
        UserError: a word that is none of them.
    """
    options, words = Options(), list(arguments)
    while words:
        word = words.pop(0)
        key, equals, value = word.partition("=")
        if key in {"--out", "out"}:
            options.out = Path(value or (words.pop(0) if words and not equals else ""))
            if str(options.out) == ".":
                raise UserError("--out: expected a folder, such as --out results")
        elif word.startswith("-") or (equals and key not in KEYS):
            raise UserError(f"compare {word}: {choices(key, [*(f'{k}=...' for k in KEYS), '--out DIR', 'STUDY'])}")
        elif not equals:
            options.studies.append(word)
        else:
            _set(options, key, value)
    return options


KEYS = ("tracking.uri", "metric", "against", "mix", "where", "format")


def _set(options: Options, key: str, value: str) -> None:
    if not value:
        raise UserError(f"compare {key}=: expected a value")
    if key == "where":
        name, equals, wanted = value.partition("=")
        if not equals:
            raise UserError(f"compare where={value}: expected where=KEY=VALUE, such as where=loss=kd")
        options.where.setdefault(name, []).append(wanted)
    elif key == "mix":
        options.mix += value.split(",")
    elif key == "format" and value not in FORMATS:
        raise UserError(f"compare format={value}: {choices(value, FORMATS)}")
    else:
        setattr(options, key.removeprefix("tracking."), without_login(value) if key == "tracking.uri" else value)


def _only_study(uri: str) -> list[str]:
    """The study that is meant where none is named: the only one that there are students of.

    Raises:
        UserError: there are several, or none.
    """
    from kd_lab.analysis.runs import studies

    found = studies(uri)
    if len(found) == 1:
        return found
    if not found:
        raise UserError(f"tracking.uri={uri}: there are no studies with students yet; run kd-lab first.")
    raise UserError(
        f"compare: which study? {uri} has {', '.join(found)}; name one or more, as in kd-lab compare {found[0]}"
    )
