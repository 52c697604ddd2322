"""Pickles of plain data, read without running anything that they ask for.

A pickle is a program: it may name any function there is and have it called. Here the names that arrays of NumPy and
bytes are written with are known, and stand for classes that keep what they are given; every other name ends the
reading. Only then what was kept is looked at. Written by Python 2 or 3, with protocol 4 at most.
"""

import io
import math
import pickle
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_BYTES = (b"u1", b"|u1", "u1", "|u1")
"""What the type uint8 is called."""


class _Array:
    """In the place of numpy.ndarray, and of what makes an empty one."""

    __slots__ = ("state",)

    def __init__(self, *_: object) -> None:
        self.state: object = None

    def __setstate__(self, state: object) -> None:
        self.state = state

    def read(self) -> "NDArray[np.uint8]":
        """The array.

        Raises:
            ValueError: it is none of bytes, or declares another number of them than there are.
        """
        import numpy as np

        match self.state:
            case (int(), tuple(shape), _Kind(code=code), bool() | int() as columns_first, bytes(raw)) if code in _BYTES:
                if all(type(side) is int and side >= 0 for side in shape) and math.prod(shape) == len(raw):
                    order: Any = "F" if columns_first else "C"
                    return np.frombuffer(raw, np.uint8).reshape(shape, order=order)
        raise ValueError("an array in it is not one of bytes, as many as its shape says")


class _Kind:
    """In the place of numpy.dtype."""

    __slots__ = ("code",)

    def __init__(self, code: object, *_: object) -> None:
        self.code = code

    def __setstate__(self, state: object) -> None:
        """Order of bytes and alignment: bytes have neither."""


class _Encoded:
    """In the place of _codecs.encode, by which protocol 2 of Python 3 writes bytes."""

    __slots__ = ()

    def __new__(cls, text: str, _: str) -> Any:
        """The bytes: each is a character."""
        return text.encode("latin1")

    def __setstate__(self, state: object) -> None:
        """There is none. All three classes have this method, or a pickle could change the class itself."""


_KNOWN: Mapping[tuple[str, str], type] = MappingProxyType(
    {
        ("numpy.core.multiarray", "_reconstruct"): _Array,
        ("numpy._core.multiarray", "_reconstruct"): _Array,
        ("numpy", "ndarray"): _Array,
        ("numpy", "dtype"): _Kind,
        ("_codecs", "encode"): _Encoded,
    }
)


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str, /) -> Any:
        """Called for every name."""
        if (module, name) not in _KNOWN:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, expected arrays, lists and text alone")
        return _KNOWN[module, name]


def read_pickle(raw: bytes) -> dict[str, Any]:
    """The dictionary in a pickle: what has a text as its key, arrays as such of NumPy, other text of Python 2 as bytes.

    Raises:
        ValueError: it is damaged, holds something else, or asks for anything to be called.
    """
    try:
        found = _Unpickler(io.BytesIO(raw), encoding="bytes").load()
    except Exception as error:  # a damaged one may raise anything
        raise ValueError(" ".join(str(error).split()) or type(error).__name__) from error
    if not isinstance(found, dict):
        raise ValueError(f"it holds a {type(found).__name__}, expected a dictionary")
    named = {key.decode("latin1") if isinstance(key, bytes) else key: value for key, value in found.items()}
    return {
        key: value.read() if isinstance(value, _Array) else value
        for key, value in named.items()
        if isinstance(key, str)
    }
