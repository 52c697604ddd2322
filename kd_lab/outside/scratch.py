"""Folders for what lives no longer than its process; what a killed process left is taken away by the next one.

Each process has one of its own, with a lock file in it that the system frees when the process ends, however it ends.
"""

import atexit
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from filelock import FileLock, Timeout

from kd_lab.outside.paths import is_own_folder

PREFIX = "kd-lab-scratch-"
LOCK = "lock"
NEW_S = 60.0
"""A folder may be so old and not locked yet."""
_held: list[FileLock] = []


@contextmanager
def scratch(prefix: str = "tmp") -> Iterator[str]:
    """A folder that is removed at the end of the block, or, where the process is killed before, by a later one."""
    with tempfile.TemporaryDirectory(prefix=prefix, dir=own_folder(), ignore_cleanup_errors=True) as folder:
        yield folder


@contextmanager
def beside(file: Path, prefix: str) -> Iterator[Path]:
    """A folder where a file is to come, so that the file, made in it, takes its place whole; removed as by `scratch`.

    Raises:
        OSError: nothing can be written there.
    """
    _sweep(file.parent, prefix)
    with (
        tempfile.TemporaryDirectory(prefix=prefix, dir=file.parent) as folder,
        FileLock(Path(folder) / LOCK, thread_local=False),
    ):
        yield Path(folder)


def own_folder() -> Path:
    """The folder of this process, removed when it ends."""
    return _own_folder(os.getpid())


@cache
def _own_folder(pid: int) -> Path:
    _sweep(Path(tempfile.gettempdir()), PREFIX)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    lock = FileLock(folder / LOCK, thread_local=False)
    lock.acquire()
    _held.append(lock)  # for as long as this process lives
    atexit.register(_remove, folder, pid)
    return folder


def _remove(folder: Path, pid: int) -> None:
    if os.getpid() == pid:  # a forked process has its parent's list of what is to be done
        shutil.rmtree(folder, ignore_errors=True)


def _sweep(root: Path, prefix: str) -> None:
    """Take away the folders of this user's processes that are dead."""
    for folder in root.glob(f"{prefix}*"):
        with suppress(OSError, Timeout):
            if is_own_folder(folder) and time.time() - folder.lstat().st_mtime > NEW_S:
                with FileLock(folder / LOCK, timeout=0, thread_local=False):
                    shutil.rmtree(folder, ignore_errors=True)
