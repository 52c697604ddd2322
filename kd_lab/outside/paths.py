"""What of a folder is read, written and removed: regular files below their own root, and one's own folders only."""

import os
import shutil
import stat
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path, PurePosixPath

from kd_lab.errors import UserError
from kd_lab.outside.ids import is_run_id

RESCUE = "kd_lab_rescue"
"""The name of every folder that holds what a store does not have yet, one folder of it for each run."""
MAX_TEXT_BYTES = 2**24


def is_own_folder(folder: Path) -> bool:
    """Whether it is a folder, no link to one, and this user's."""
    try:
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == _user(found.st_uid)


def is_own_rescue(folder: Path) -> bool:
    """Whether it is the folder of a run in a rescue folder, and this user's.

    The rescue folder itself may be another's, where a group shares a store; it is no link.
    """
    root = folder.parent
    return is_run_id(folder.name) and root.name == RESCUE and not root.is_symlink() and is_own_folder(folder)


def make_own_folder(folder: Path) -> None:
    """Make it if it is not there, for this user alone.

    Raises:
        OSError: it cannot be made.
        UserError: something else of this name is there.
    """
    if folder.parent.is_symlink():
        raise UserError(f"{folder.parent}: is a link, expected a folder; take it away.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        if not is_own_folder(folder):
            raise UserError(
                f"{folder}: is a link or somebody else's, expected a folder of yours; take it away."
            ) from None


def remove_own_folder(folder: Path) -> None:
    """Remove it with all in it, and the folder above when it was the last; not a link, nor what is another's."""
    if is_own_folder(folder):
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):
            folder.parent.rmdir()


def regular(root: Path, inside: str) -> Path:
    """The regular file `inside` of a folder: it does not leave the folder, and no part of the way is a link.

    Args:
        root: the folder, no link to one; how one comes to it is not looked at.
        inside: a path with slashes, from there.

    Raises:
        FileNotFoundError: there is nothing.
        UserError: it leads out of the folder, over a link, or to something that is no file.
    """
    parts = PurePosixPath(inside).parts
    if not parts or PurePosixPath(inside).is_absolute() or ".." in parts:
        raise UserError(f"{inside}: leads out of {root}, expected a path inside of it.")
    path = root
    for part in ("", *parts):
        path = path / part
        if path.is_symlink():
            raise UserError(f"{path}: is a link, expected a file of its own in {root}; it is left alone.")
    if not stat.S_ISREG(path.stat().st_mode):
        raise UserError(f"{path}: expected a file, it is left alone.")
    return path


def read_text(path: Path, most: int = MAX_TEXT_BYTES) -> str:
    """The text of a regular file, no link to one; never waits for a pipe.

    Raises:
        OSError: there is no such file, or it is none.
        ValueError: it is larger than `most` bytes, or no text.
    """
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    with os.fdopen(handle, "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise OSError(f"{path} is no file")
        if found.st_size > most:
            raise ValueError(f"{path} has {found.st_size:,} bytes, expected at most {most:,}")
        return file.read(most + 1).decode("utf-8")


def _user(otherwise: int) -> int:
    return os.getuid() if hasattr(os, "getuid") else otherwise


def put_whole(file: Path, write: Callable[[Path], object]) -> bool:
    """Put a file into a cache, whole or not at all; where it cannot be written, that costs nothing but its use.

    write: writes the content to the path that it is given.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=file.parent) as folder:
            new = Path(folder) / file.name
            write(new)
            new.replace(file)
    except OSError:
        return False
    return True
