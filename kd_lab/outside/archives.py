"""Files that declare more than they hold: what they declare is read and judged before anything is unpacked.

A zip says in its directory how many bytes each member unpacks to, an .npy file in its header how many follow; readers
believe both, and 9 MB can become 5.6 GiB. Members of one file may lie over each other, so that each is honest alone:
what counts is their sum.

Source: D. Fifield, "A better zip bomb", WOOT 2019.
"""

import os
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from kd_lab.errors import UserError
from kd_lab.outside.memory import check_memory
from kd_lab.outside.npy import DAMAGE, array_of, one_line, row_batches
from kd_lab.outside.text import in_bytes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

GIB = 2**30
LARGE_BYTES = GIB
MAX_RATIO = 100
"""Bytes that one byte of a large file may become. Deflate reaches 1032 with zeros; real data stays far below this."""
MAX_RATIO_STORED = 2
"""The same of a program that does not compress: names and padding make its files larger than what they hold."""

_ENCRYPTED = 1
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def check_zip(path: Path, source: str, *, stored: bool = False, todo: str = "save it again") -> None:
    """Judge a zip by its directory, before another program unpacks it.

    Args:
        path: the file.
        source: the beginning of the message.
        stored: the program that writes such files does not compress them.
        todo: the end of the message.

    Raises:
        UserError: it declares more than its size may hold or the memory takes, or is packed in another way than by
            deflate.
        zipfile.BadZipFile: it is no zip, or a damaged one.
        OSError: it cannot be read.
    """
    with path.open("rb") as file, _opened(file) as archive:
        _judge(archive.infolist(), _size(file), source, stored, todo)


def read_npz(
    path: Path, source: str, wanted: Iterable[str], *, stored: bool = False, todo: str = "save it again"
) -> tuple[dict[str, "Array"], list[str]]:
    """Read the wanted arrays of an .npz file, never through pickle; the others are not looked at.

    Args:
        path: the file.
        source: the beginning of the messages.
        wanted: the names to read.
        stored: as in `check_zip`.
        todo: the end of the messages.

    Returns:
        The arrays by name, in the order of `wanted`, and all names in the file.

    Raises:
        UserError: it cannot be read, is damaged, declares too much (see `check_zip`) or other than it holds, or a
            wanted member is no array of numbers, text or dates.
    """
    try:
        with path.open("rb") as file, _opened(file) as archive:
            members = {name: found for name in wanted if (found := _member(archive, name))}
            _judge(members.values(), _size(file), source, stored, todo)
            arrays = {}
            for name, member in members.items():
                with archive.open(member) as stream:
                    arrays[name] = array_of(stream, member.file_size, f"{source}: {name}", todo)
            return arrays, [name.removesuffix(".npy") for name in archive.namelist()]
    except UserError:
        raise
    except DAMAGE as error:
        raise UserError(f"{source}: the file is truncated or damaged ({one_line(error)}), {todo}.") from error


def read_npy(path: Path, source: str, name: str, *, todo: str = "save it again") -> "Array":
    """Read the array of an .npy file, never through pickle.

    Args:
        path: the file.
        source: the beginning of the messages.
        name: what they call the array.
        todo: their end.

    Raises:
        UserError: it cannot be read, or as `read_npz`.
    """
    try:
        with path.open("rb") as file:
            size = _size(file)
            check_memory(size, source)
            return array_of(file, size, f"{source}: {name}", todo)
    except OSError as error:
        raise UserError(f"{source}: cannot read the file ({error.strerror}), check the path.") from error


def array_batches(path: Path, source: str, name: str, size: int, *, todo: str = "save it again") -> Iterator["Array"]:
    """The rows of an array of an .npz file, or of that of an .npy file, at most `size` at a time.

    Rows lie behind one another, so the array may be larger than the memory; one in the order of Fortran is read whole.

    Args:
        path: the file.
        source: the beginning of the messages.
        name: of the array.
        size: rows at a time.
        todo: the end of the messages.

    Raises:
        UserError: it has no such array, or as `read_npz`, but for the memory.
    """
    try:
        with path.open("rb") as file:
            if not zipfile.is_zipfile(file):
                file.seek(0)
                yield from row_batches(file, _size(file), f"{source}: {name}", size, todo)
                return
            with _opened(file) as archive:
                member = _member(archive, name)
                if member is None:
                    held = ", ".join(one.removesuffix(".npy") for one in archive.namelist()[:8]) or "nothing"
                    raise UserError(f"{source}: no array named {name}, it holds {held}; rename one to {name}.")
                _check_packing([member], source, todo)
                with archive.open(member) as stream:
                    yield from row_batches(stream, member.file_size, f"{source}: {name}", size, todo)
    except UserError:
        raise
    except DAMAGE as error:
        raise UserError(f"{source}: the file is truncated or damaged ({one_line(error)}), {todo}.") from error


def _opened(file: IO[bytes]) -> zipfile.ZipFile:
    """The zip; whatever its directory makes zipfile stumble over is damage.

    Raises:
        zipfile.BadZipFile: it is no zip, or a damaged one.
    """
    try:
        return zipfile.ZipFile(file)
    except DAMAGE as error:
        raise zipfile.BadZipFile(one_line(error)) from error


def _member(archive: zipfile.ZipFile, name: str) -> zipfile.ZipInfo | None:
    """What NumPy would take for this name: the member itself before the one with the ending."""
    return next((archive.NameToInfo[there] for there in (name, f"{name}.npy") if there in archive.NameToInfo), None)


def _judge(members: Iterable[zipfile.ZipInfo], size: int, source: str, stored: bool, todo: str) -> None:
    members = list(members)
    _check_packing(members, source, todo)
    declared = sum(member.file_size for member in members)
    if stored and declared > MAX_RATIO_STORED * size:
        raise UserError(
            f"{source}: declares {in_bytes(declared)} in a file of {in_bytes(size)}, expected one that is not "
            f"compressed; {todo}."
        )
    if declared > LARGE_BYTES and declared > MAX_RATIO * size:
        raise UserError(
            f"{source}: declares {in_bytes(declared)} in a file of {in_bytes(size)}, expected at most "
            f"{MAX_RATIO} times its size; if it is yours, save it uncompressed, with numpy.savez."
        )
    check_memory(declared, source)


def _check_packing(members: Iterable[zipfile.ZipInfo], source: str, todo: str) -> None:
    # zipfile unpacks bzip2 and LZMA without a limit, whatever is declared: 286 bytes that declare 100 take 450 MB when
    # the first 6 are read. Only of deflate it asks for no more than it was asked for.
    if any(member.compress_type not in _METHODS or member.flag_bits & _ENCRYPTED for member in members):
        raise UserError(f"{source}: is encrypted or packed by another method than deflate, expected neither; {todo}.")


def _size(file: IO[bytes]) -> int:
    return os.fstat(file.fileno()).st_size
