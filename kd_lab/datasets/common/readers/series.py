"""Series out of files like those of `dataset=series`, as they were before anything was done to them.

Legend: B batch, C channels, T steps.
"""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kd_lab.datasets.common.series_files import ENDINGS, Missing, Samples, filled, series_batches, to_length
from kd_lab.errors import UserError
from kd_lab.outside.nodes import node_of
from kd_lab.types import Read

_logger = logging.getLogger(__name__)


class SeriesOf:
    """Reads a .ts, .tsv or .txt file to series [B, C, T] float32; labels in it are not looked at.

    Args:
        input_shape: (C, T).
        length: whether series of other lengths are cut, or go on with their last value, as in training; None: they are
            refused.
        missing: what is done about values that are missing.
    """

    def __init__(self, *, input_shape: Any, length: int | None, missing: Missing) -> None:
        self._channels, self._steps = (int(size) for size in input_shape)
        self._length, self._missing = length, missing

    @property
    def node(self) -> dict[str, Any]:
        """See `kd_lab.types.Reader`; the shape is kept beside it."""
        return node_of(self, length=self._length, missing=self._missing)

    @property
    def meaning(self) -> object:
        """Places: they need no names."""
        return None

    def batches(self, path: str, size: int) -> Iterator[Read]:
        """See `kd_lab.types.Reader`.

        Raises:
            UserError: the file cannot be read, or a series has other channels or another length, or lacks values.
        """
        file = Path(path).expanduser()
        if file.suffix not in ENDINGS:
            raise UserError(f"{path}: expected a file of series that ends in {', '.join(ENDINGS)}, or .npz or .npy.")
        others = 0
        for samples in series_batches(file, path, size, self._channels):
            others += sum(len(channel) != self._steps for series in samples.series for channel in series)
            yield Read(torch.from_numpy(self._rows(samples, path)))
        if others:
            _logger.warning(
                "%s: %s channels of another length than %s are cut, or go on with their last value.",
                *(path, f"{others:,}", self._steps),
            )

    def _rows(self, samples: Samples, path: str) -> Any:
        for series, line in zip(samples.series, samples.lines, strict=True):
            where = f"{path}: line {line}"
            filled(series, where, self._missing)
            if len(series) != self._channels:
                raise UserError(f"{where} has {len(series)} channels, the network learned from {self._channels}.")
            other = next((len(channel) for channel in series if len(channel) != self._steps), None)
            if other is not None and self._length is None:
                raise UserError(f"{where} has {other} steps, the network learned from {self._steps}; expected as many.")
        return np.stack([np.stack([to_length(one, self._steps) for one in series]) for series in samples.series])
