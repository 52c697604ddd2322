"""NumPy's own format: what a header declares is read and judged before its array is."""

import io
import math
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from kd_lab.errors import UserError
from kd_lab.outside.memory import check_memory

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[Any]

HEADER_BYTES = 2**14
"""More than the longest .npy header that NumPy takes, 10,000; a file may declare one of 4 GiB."""
MAX_SAID = 200

DAMAGE = (
    OSError,
    EOFError,
    ValueError,
    OverflowError,
    MemoryError,
    NotImplementedError,
    struct.error,
    zlib.error,
    zipfile.BadZipFile,
)
"""What NumPy, zipfile and zlib raise at a file that is not what it says."""


class _Header(NamedTuple):
    """What an .npy header says, and its own bytes."""

    bytes: int
    shape: tuple[int, ...]
    of_fortran: bool
    dtype: "np.dtype[Any]"


def row_batches(stream: IO[bytes], size: int, source: str, rows: int, todo: str) -> Iterator["Array"]:
    """The rows of the array in a stream of `size` bytes, at most `rows` at a time; in the order of Fortran all at once.

    Raises:
        UserError: as `array_of`.
        ValueError: it declares other than is there.
    """
    import numpy as np

    header = _checked(stream, size, source, todo)
    stream.seek(0)
    if header.of_fortran or len(header.shape) < 2:
        check_memory(size, source)
        yield array_of(stream, size, source, todo)
        return
    stream.seek(header.bytes)
    count, *sample = header.shape
    row = math.prod(sample) * header.dtype.itemsize
    check_memory(min(rows, count) * row, source)
    for start in range(0, count, rows):
        wanted = min(rows, count - start)
        content = stream.read(wanted * row)
        if len(content) != wanted * row:
            raise ValueError(f"it ends in row {start + len(content) // max(row, 1)} of {count}")
        yield np.frombuffer(content, header.dtype).reshape(wanted, *sample)


def array_of(stream: IO[bytes], size: int, source: str, todo: str) -> "Array":
    """One array from the start of a stream of `size` bytes, once its header agrees with that.

    Args:
        stream: at its start.
        size: how many bytes it has.
        source: the beginning of the messages.
        todo: their end.

    Raises:
        UserError: it is no array, one of Python objects, or damaged.
    """
    from numpy.lib import format as npy

    try:
        _checked(stream, size, source, todo)
        stream.seek(0)
        array: Array = npy.read_array(stream, allow_pickle=False)
    except UserError:
        raise
    except DAMAGE as error:
        raise UserError(f"{source} is truncated or damaged ({one_line(error)}), {todo}.") from error
    return array


def _checked(stream: IO[bytes], size: int, source: str, todo: str) -> _Header:
    """The header of the array that a stream of `size` bytes begins with, once it agrees with that.

    Raises:
        UserError: it is no array, or one of Python objects.
        ValueError: it declares other than is there.
    """
    from numpy.lib import format as npy

    start = stream.read(HEADER_BYTES)
    if not start.startswith(npy.MAGIC_PREFIX):
        raise UserError(f"{source} is not a NumPy array (numpy.savez writes them), {todo}.")
    header = _header(start)
    if header.dtype.hasobject:
        raise UserError(f"{source} holds Python objects, which are never loaded; save it as a numeric array.")
    declared = math.prod(header.shape) * header.dtype.itemsize
    if declared != size - header.bytes:
        raise ValueError(f"its header declares {declared:,} bytes, {size - header.bytes:,} are there")
    return header


def _header(start: bytes) -> _Header:
    """What an .npy header declares.

    Raises:
        ValueError: it is none that NumPy reads.
    """
    from numpy.lib import format as npy

    stream = io.BytesIO(start)
    try:
        # Version 3 is version 2 in another encoding of names; NumPy has no function for it alone.
        version = npy.read_magic(stream)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, of_fortran, dtype = read(stream)
    except Exception as error:  # NumPy evaluates it as Python: TokenError, TypeError, RecursionError, ...
        raise ValueError(one_line(error)) from error
    if any(type(number) is not int for number in shape):  # NumPy takes True for a number here, and not later
        raise ValueError(f"its header declares the shape {shape}")
    return _Header(stream.tell(), shape, of_fortran, dtype)


def one_line(error: BaseException) -> str:
    """What it says, on one line; NumPy repeats the whole of a header that it cannot read."""
    said = " ".join(str(error).split()) or type(error).__name__
    return said if len(said) <= MAX_SAID else f"{said[:MAX_SAID]} ..."
