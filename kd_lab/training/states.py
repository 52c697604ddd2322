"""The states of a training on the local disk: the newest two, each whole or not there.

A file's name says which training it belongs to, at which step, and the hash of its content, so that a file that was cut
short or changed is known before it is read; nothing in it is run.
"""

import hashlib
import logging
import os
import pickle
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, cast

import torch

from kd_lab.errors import UserError
from kd_lab.outside.paths import is_own_folder, make_own_folder, regular, remove_own_folder
from kd_lab.training.state import State, plain

MAIN = "main"
"""The training that ends what is trained of a network: no other one follows it."""
KEPT = 2
ENDING = ".state"
HASH_LENGTH = 32
FORGOTTEN_S = 30 * 24 * 3600.0
"""Nobody goes on with a training whose newest state is older."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Part:
    """One of several parts of a training, each done by itself.

    until: after so many optimizer steps, at the end of an epoch, it ends with a state. before: the folder with the
    state in which the part before ended; None: it is the first.
    """

    until: int
    before: Path | None = None


@dataclass
class States:
    """Where the states of the trainings of one network lie, one folder for all of them.

    tell: hears what a user is told. every_s: how many seconds pass between two of them. training: which one is meant,
    of several members or stages, a plain word. part: which part of it alone is done.
    """

    folder: Path
    tell: Callable[[str], None]
    every_s: float
    training: str = MAIN
    part: Part | None = None
    _troubled: bool = field(default=False, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        """For a process that trains: what it has to tell goes to its standard error."""
        return {**self.__dict__, "tell": _logger.warning}

    def of(self, training: str) -> "States":
        """Those of another training of the same network."""
        return replace(self, training=training)

    def save(self, label: str, step: int, state: State, *, kept: int = KEPT) -> None:
        """Keep a state, and so many in all; what prevents it is said once, and costs no training.

        Those of later steps are of a training that was begun anew since.
        """
        name = f"{self.training}-{step:012}"
        part = self.folder / f"{self.training}.{os.getpid()}.part"
        try:
            make_own_folder(self.folder)
            digest = _written(plain(state), part)
            part.replace(self.folder / f"{name}-{digest}{ENDING}")
        except (OSError, UserError, RuntimeError, TypeError) as error:
            if not self._troubled:
                self.tell(f"{label}: its state cannot be kept ({_line(error)}); the training goes on without")
            self._troubled = True
        finally:
            with suppress(OSError):
                part.unlink(missing_ok=True)
        files = self._files(self.folder)
        later = [file_ for file_ in files if file_.name[: len(name)] > name]
        for file_ in [*later, *files[len(later) + kept :]]:
            with suppress(OSError):
                file_.unlink()

    def load(self, label: str, facts: State) -> State | None:
        """The newest state that is whole; None where there is none, or where it belongs to another training.

        Args:
            label: what the training is called.
            facts: what must be the same; in the state as `facts`.

        Raises:
            UserError: a part of a training that is not its first has nothing to go on from.
        """
        before = None if self.part is None else self.part.before
        why = f"there is none in {before}"
        for file in [*self._files(self.folder), *([] if before is None else self._files(before))]:
            state = self._read(file)
            if state is None:
                self.tell(f"{label}: a state in {file} is damaged and left out")
                continue
            if self.part is not None and state["step"] >= self.part.until:
                continue  # nobody heard of the end of this part: it is done again
            other = [key for key, value in facts.items() if state["facts"].get(key) != value]
            if not other:
                return state
            then, now = state["facts"].get(other[0]), facts[other[0]]
            why = f"its state is of other {other[0]} ({then}, now {now})"
            if before is None:
                self.tell(f"{label}: begins anew, {why}")
            break
        if before is not None:
            raise UserError(f"{label}: cannot go on from the state of the part before: {why}")
        return None

    def ends_at(self, step: int) -> bool:
        """Whether the part that is done ends after so many steps."""
        return self.part is not None and step >= self.part.until

    def remove(self) -> None:
        """Of all trainings of the network, and the folder above when it was the last."""
        remove_own_folder(self.folder)

    def _files(self, folder: Path) -> list[Path]:
        """Newest first."""
        if not is_own_folder(folder):
            return []
        return sorted(folder.glob(f"{self.training}-{'[0-9]' * 12}-*{ENDING}"), reverse=True)

    def _read(self, path: Path) -> State | None:
        try:
            with regular(path.parent, path.name).open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest()[:HASH_LENGTH] != path.stem.rpartition("-")[2]:
                    return None
                file.seek(0)
                state = torch.load(file, map_location="cpu", weights_only=True)
        except (OSError, UserError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError):
            return None
        return cast("State", state) if isinstance(state, dict) and isinstance(state.get("facts"), dict) else None


def forget_old(folder: Path) -> str | None:
    """Remove the states of trainings that nobody has gone on with for 30 days; a sentence if there were any.

    folder: that of all networks' folders.
    """
    removed, size = 0, 0
    for network in folder.iterdir() if is_own_folder(folder) else ():
        with suppress(OSError):
            if not is_own_folder(network):
                continue
            found = [file.lstat() for file in network.iterdir()]
            newest = max([network.lstat().st_mtime, *(one.st_mtime for one in found)])
            if time.time() - newest > FORGOTTEN_S:
                shutil.rmtree(network)
                removed, size = removed + 1, size + sum(one.st_size for one in found)
    if not removed:
        return None
    with suppress(OSError):
        folder.rmdir()
    trainings = "one training, which nobody has" if removed == 1 else f"{removed} trainings, which nobody has"
    return f"{folder}: removed the states of {trainings} gone on with for 30 days ({size / 1e6:,.1f} MB)"


def _written(state: State, path: Path) -> str:
    """Write a state to the disk itself, and say the hash of the file."""
    with path.open("wb") as file:
        hashed = _Hashed(file)
        try:
            torch.save(state, cast("BinaryIO", hashed))
        except RuntimeError as error:
            raise hashed.trouble or error from error
        file.flush()
        os.fsync(file.fileno())
    return hashed.digest


class _Hashed:
    """A file that is written from its beginning to its end, and hashed meanwhile."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._hash = file, hashlib.sha256()
        self.trouble: OSError | None = None
        """What the system said, which torch does not hand on."""

    def write(self, data: Any) -> int:
        self._hash.update(data)
        try:
            return self._file.write(data)
        except OSError as error:
            self.trouble = error
            raise

    def flush(self) -> None:
        self._file.flush()

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()[:HASH_LENGTH]


def moment(seconds: float) -> str:
    """A moment of the clock, with its day where that is not today: 14:03."""
    then = time.localtime(seconds)
    same_day = time.strftime("%Y%m%d", then) == time.strftime("%Y%m%d")
    return time.strftime("%H:%M" if same_day else "%Y-%m-%d %H:%M", then)


def _line(error: Exception) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else " ".join(str(error).split())
