"""Whether the process that writes a run is alive.

It holds a lock file in the store's folder of locks, which the system frees when the process ends, however it ends. Only
who shares that folder and that machine can tell, so a run's tag kd_lab.host says both, as hashes.
"""

import hashlib
import os
import platform
import time
import uuid
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from kd_lab.outside.paths import is_own_rescue, read_text
from kd_lab.store.location import Location

FOLDER_ID = "id"
NEW_S = 60.0
"""A lock may be so old before the run that it is for is there to be seen."""


class Lease:
    """Held while a run is written."""

    def __init__(self, lock: FileLock, note: Path) -> None:
        self._lock = lock
        self._note = note

    @classmethod
    def take(cls, location: Location, local_id: str) -> "Lease | None":
        """Hold it; None while another process, or another lease of this one, does."""
        path = location.lock_file(f"run-{local_id}")
        path.parent.mkdir(parents=True, exist_ok=True)
        return cls._hold(path)

    @classmethod
    def _hold(cls, path: Path) -> "Lease | None":
        lock = FileLock(path, thread_local=False)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return None
        return cls(lock, path.with_suffix(".folder"))

    @property
    def folder(self) -> Path | None:
        """The folder that keeps what the store does not have of this run.

        None where the note, which others may write, names anything but a rescue folder of this user's.
        """
        try:
            folder = Path(read_text(self._note))
        except (OSError, ValueError):
            return None
        return folder if folder.is_absolute() and is_own_rescue(folder) else None

    @folder.setter
    def folder(self, folder: Path) -> None:
        self._note.write_text(str(folder), encoding="utf-8")

    @classmethod
    def forget_dead(cls, location: Location, running: Collection[str]) -> None:
        """Take away what killed processes left: locks that nobody holds, but of runs that are RUNNING or kept.

        Args:
            location: the store.
            running: the local ids of its RUNNING runs, wherever they are written.
        """
        for path in location.locks.glob("run-*.lock"):
            local_id = path.name.split("-")[1]
            with suppress(OSError):
                if local_id in running or time.time() - path.lstat().st_mtime < NEW_S:
                    continue
                lease = cls._hold(path)
                if lease is not None:
                    lease.release(done=lease.folder is None)

    def release(self, *, done: bool) -> None:
        """Let go; `done`: nobody needs to ask again."""
        if done:
            for path in (self._note, Path(self._lock.lock_file)):
                with suppress(OSError):
                    path.unlink()
        self._lock.release()


@contextmanager
def alone(path: Path, on_wait: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold a lock file, waited for; `on_wait` is called once if another process has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    held = FileLock(path)
    try:
        held.acquire(timeout=0)
    except Timeout:
        if on_wait is not None:
            on_wait()
        held.acquire()
    try:
        yield
    finally:
        with suppress(OSError):  # who waits for this file sees that it is gone, and makes another
            path.unlink()
        held.release()


def id_of_sweep(study: str, sweep_id: str) -> str:
    """The local id of a sweep's run in a study, known before there is a run."""
    return _hash(study, sweep_id, length=32)


def host(location: Location) -> str:
    """The value of kd_lab.host: the folder of locks with this machine, and with this boot of the machine's kernel.

    The second one is the same in all containers of a machine, the first one after a restart.
    """
    folder = _folder_id(location.locks)
    machine = _hash(folder, platform.node(), _read("/etc/machine-id"))
    boot = _read("/proc/sys/kernel/random/boot_id")
    return f"{machine}-{_hash(folder, boot)}" if boot else machine


def same_host(one: str, other: str) -> bool:
    """Whether a lock that the one holds is seen by the other."""
    return bool(set(one.split("-")) & set(other.split("-")))


def _folder_id(locks: Path) -> str:
    """An id of this folder, made by the first who asks."""
    path = locks / FOLDER_ID
    if not path.exists():
        locks.mkdir(parents=True, exist_ok=True)
        new = locks / f".{FOLDER_ID}-{os.getpid()}"
        new.write_text(uuid.uuid4().hex, encoding="utf-8")
        with suppress(FileExistsError):
            os.link(new, path)
        new.unlink()
    return path.read_text(encoding="utf-8")


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _hash(*facts: str, length: int = 16) -> str:
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:length]
