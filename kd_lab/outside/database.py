"""SQLite files: whose they are, asked of SQLite itself, because MLflow would make its tables in any of them."""

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from kd_lab.errors import UserError

BUSY_TIMEOUT_S = 20.0
OURS = {"runs", "alembic_version"}


def tables(database: Path) -> set[str]:
    """The names of the tables of a file that is there, nothing is written.

    Raises:
        sqlite3.Error: it is no SQLite file.
    """
    uri = f"{database.absolute().as_uri()}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_S)) as connection:
        return {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def has_runs(database: Path) -> bool:
    """Whether MLflow's tables are in this file."""
    try:
        return tables(database) >= OURS
    except sqlite3.Error:
        return False


def prepare(database: Path, setting: str, fill: Callable[[Path], None]) -> None:
    """Make the file where it is not there, whole: under another name first, so that no interruption leaves a half.

    It has the mode that the umask says: SQLite's own keeps a group from writing. Whoever calls is alone with it.

    Args:
        database: the file.
        setting: the beginning of the message.
        fill: makes the tables in an empty file.

    Raises:
        UserError: another program's tables are in it.
    """
    if not database.exists() or database.stat().st_size == 0:
        whole = database.resolve()
        new = whole.with_name(f"{whole.name}.new")
        for left in (new, new.with_name(f"{new.name}-journal")):  # of a process that was killed here
            left.unlink(missing_ok=True)
        os.close(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        fill(new)
        new.replace(whole)
        return
    try:
        found = tables(database)
    except sqlite3.Error:  # it is no SQLite file, or cannot be read: MLflow tells, and leaves it as it is
        return
    if found - OURS and not found & {"runs", "experiments"}:
        listed = ", ".join(sorted(found)[:3])
        raise UserError(
            f"{setting}: {database} holds tables of another program ({listed}), to which MLflow's are not added; "
            "choose another file."
        )
