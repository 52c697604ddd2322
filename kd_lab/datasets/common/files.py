"""Arrays from .npz and .npy files, never through pickle, and one sentence for each thing that can be wrong."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kd_lab.errors import UserError
from kd_lab.outside.archives import array_batches, read_npy, read_npz
from kd_lab.types import UNLABELLED

Array = npt.NDArray[Any]


def read(path: str, setting: str, *, bare: str, wanted: tuple[str, ...]) -> tuple[dict[str, Array], list[str]]:
    """Reads the wanted arrays that a file holds.

    Args:
        path: an .npz or .npy file; told apart by content, not by name.
        setting: what messages start with, as in `dataset.path=my.npz`.
        bare: the name of the one array of an .npy file.
        wanted: the names to read; others are left alone.

    Returns:
        The arrays by name, and all names in the file.

    Raises:
        UserError: the file is missing, empty, damaged, of another kind, declares more than it holds or the memory
            takes, or holds Python objects.
    """
    file = Path(path).expanduser()
    start = beginning(file, setting)
    if start == b"\x93NUMPY":
        return {bare: read_npy(file, setting, bare)}, [bare]
    if not start.startswith(b"PK"):
        raise UserError(f"{setting}: not an .npz or .npy file, make one with numpy.savez({file.stem}, X=..., y=...).")
    return read_npz(file, setting, wanted)


def batches_of(path: str, setting: str, name: str, size: int) -> Iterator[Array]:
    """The rows of an array of an .npz file, or of that of an .npy file, at most `size` at a time.

    Raises:
        UserError: see `read`, or there is no such array, or no row in it.
    """
    file = Path(path).expanduser()
    start = beginning(file, setting)
    if start != b"\x93NUMPY" and not start.startswith(b"PK"):
        raise UserError(f"{setting}: not an .npz or .npy file, make one with numpy.savez({file.stem}, {name}=...).")
    empty = True
    for batch in array_batches(file, setting, name, size):
        empty = False
        yield batch
    if empty:
        raise UserError(f"{setting}: {name} has no row, expected [N, ...] with at least one.")


def beginning(file: Path, setting: str) -> bytes:
    """The first bytes of a file, at most 6.

    Raises:
        UserError: it cannot be read, or is empty.
    """
    try:
        with file.open("rb") as stream:
            start = stream.read(6)
    except OSError as error:
        raise UserError(f"{setting}: cannot read the file ({error.strerror}), check the path.") from error
    if not start:
        raise UserError(f"{setting}: the file is empty, save it again.")
    return start


def to_inputs(array: Array, name: str, setting: str, start: int = 0) -> Tensor:
    """Inputs [N, ...]: uint8 as it is, all else float32 of the same value.

    start: the number of the first row, for messages.

    Raises:
        UserError: not numbers, no samples, no features, or values that are not finite.
    """
    if array.dtype.kind not in "biuf":
        raise UserError(f"{setting}: {name} has type {array.dtype}, expected numbers (integers or floats).")
    if array.ndim < 2 or array.size == 0:
        raise UserError(
            f"{setting}: {name} has shape {list(array.shape)}, expected [N, ...] with at least one feature."
        )
    if array.dtype == np.uint8:
        return torch.from_numpy(np.require(array, requirements=["C", "W"]))
    with np.errstate(over="ignore"):
        inputs = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
    finite = torch.isfinite(inputs)
    if not bool(finite.all()):
        bad = ~finite.flatten(1)
        first = start + int(torch.nonzero(bad.any(1))[0])
        raise UserError(
            f"{setting}: {name} has {int(bad.sum())} values that are NaN or infinite in float32, "
            f"the first in row {first}; fill or drop them."
        )
    return inputs


def to_targets(array: Array, name: str, setting: str, count: int) -> Tensor:
    """Targets [N] int64, `UNLABELLED` where the array has -1 (or NaN in an array of floats).

    Raises:
        UserError: another length than the inputs, labels that are not whole numbers, or labels below -1.
    """
    if array.ndim != 1:
        raise UserError(f"{setting}: {name} has shape {list(array.shape)}, expected [N], one class number per point.")
    if len(array) != count:
        raise UserError(f"{setting}: {name} has {len(array)} labels for {count} points, expected one for each.")
    if array.dtype.kind == "f":
        array = _from_floats(array, name, setting)
    elif array.dtype.kind not in "biu":
        raise UserError(f"{setting}: {name} has type {array.dtype}, expected whole numbers from 0 (-1: no label).")
    labels = torch.from_numpy(array.astype(np.int64))
    below = torch.nonzero(labels < -1)
    if len(below):
        row = int(below[0])
        raise UserError(
            f"{setting}: {name} has the label {int(labels[row])} in row {row}, expected classes from 0 (-1: no label)."
        )
    return torch.where(labels == -1, UNLABELLED, labels)


def _from_floats(array: Array, name: str, setting: str) -> Array:
    """Floats are labels only where NaN had to mark the missing ones: otherwise they are likely a regression target."""
    missing = np.isnan(array)
    known = array[~missing]
    if not missing.any() or not np.isfinite(known).all() or (known != np.floor(known)).any():
        raise UserError(
            f"{setting}: {name} has labels of type {array.dtype}, expected whole numbers: save {name}.astype('int64') "
            f"(floats are taken only where NaN marks missing labels and the rest are whole)."
        )
    return np.where(missing, -1, array)
