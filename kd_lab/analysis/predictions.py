"""What networks answered to each test sample, as their runs kept it; and how far their confidence can be trusted."""

import logging
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pandas as pd

from kd_lab.errors import UserError
from kd_lab.names import (
    ARTIFACT_PREDICTIONS,
    SAMPLE_CONFIDENCE,
    SAMPLE_INDEX,
    SAMPLE_PREDICTED,
    SAMPLE_PROBABILITIES,
    SAMPLE_TARGET,
    SAMPLE_TARGET_PROBABILITY,
    sample_probability,
)
from kd_lab.outside.archives import read_npz
from kd_lab.outside.text import visible
from kd_lab.store.archive import Archive
from kd_lab.store.location import LOCAL
from kd_lab.store.reading import existing

NUM_BINS = 15
MAX_PROBABILITIES = 1_000_000
"""Kept are at most so many numbers, see kd_lab.measures.per_sample; each class becomes a column."""

_INTEGERS, _FLOATS = "iu", "f"
_COLUMNS = {
    SAMPLE_INDEX: _INTEGERS,
    SAMPLE_TARGET: _INTEGERS,
    SAMPLE_PREDICTED: _INTEGERS,
    SAMPLE_CONFIDENCE: _FLOATS,
    SAMPLE_TARGET_PROBABILITY: _FLOATS,
}
_logger = logging.getLogger(__name__)
_TODO = "this is no file of kd-lab, choose another run"


class Bins(NamedTuple):
    """Per bin of confidence, [M] each: samples, mean confidence and accuracy (both 0 in a bin without samples)."""

    counts: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray

    @property
    def ece(self) -> float:
        """Expected calibration error, 0..1."""
        return float((self.counts * np.abs(self.accuracy - self.confidence)).sum() / self.counts.sum())


def predictions(run_id: str, uri: str = LOCAL) -> pd.DataFrame:
    """One row per test sample: index, target, predicted, confidence, target_probability.

    Where samples times classes are at most a million, `probability_0`, `probability_1`, ... as well.

    Args:
        run_id: the run of a trained network.
        uri: the store; it is read, never made.

    Raises:
        UserError: there is no such store or run, or the run kept no predictions, or something else in their place.
    """
    return _read(Archive(existing(uri)), run_id)


def predictions_of(run_ids: Iterable[str], uri: str = LOCAL) -> dict[str, pd.DataFrame]:
    """The predictions of several runs by run id; runs that kept none, or something else, are left out.

    What is wrong with the store and not with a run, such as artifacts in a folder that it may not name, is told once.
    """
    archive, found, of_store = Archive(existing(uri)), {}, list[str]()
    for run_id in run_ids:
        try:
            found[run_id] = _read(archive, run_id)
        except UserError as error:
            of_store += [] if str(error).startswith("run:") else [str(error)]
    if of_store:
        _logger.warning("Without the predictions of %d runs: %s", len(of_store), visible(of_store[0]))
    return found


def bins(frame: pd.DataFrame, num_bins: int = NUM_BINS) -> Bins:
    """The bins of a reliability diagram, of equal width and closed on the right, as the logged ECE counts them.

    Args:
        frame: what `predictions` returned; of several seeds, one below the other, if they are to be pooled.
        num_bins: over 0..1.
    """
    confidence = frame[SAMPLE_CONFIDENCE].to_numpy(dtype=np.float64)
    right = (frame[SAMPLE_PREDICTED] == frame[SAMPLE_TARGET]).to_numpy(dtype=np.float64)
    edges = np.array([i / num_bins for i in range(1, num_bins)])
    places = np.searchsorted(edges, confidence, side="left")
    counts = np.bincount(places, minlength=num_bins)
    safe = np.maximum(counts, 1)
    return Bins(
        counts,
        np.bincount(places, confidence, num_bins) / safe,
        np.bincount(places, right, num_bins) / safe,
    )


def _read(archive: Archive, run_id: str) -> pd.DataFrame:
    """The table in the run's file, which whoever can write to the store may have written."""
    source = f"run:{run_id}: {ARTIFACT_PREDICTIONS}"
    wanted = (*_COLUMNS, SAMPLE_PROBABILITIES)
    with archive.get(run_id).opened(ARTIFACT_PREDICTIONS) as file:
        columns, _ = read_npz(file, source, wanted, stored=True, todo=_TODO)
    if not _fit(columns):
        listed = ", ".join(f"{name} {array.dtype.name} {list(array.shape)}" for name, array in columns.items())
        raise UserError(
            f"{source} holds {listed or 'none of the columns'}, expected {', '.join(_COLUMNS)} [N] and possibly "
            f"{SAMPLE_PROBABILITIES} [N, K], numbers, at most {MAX_PROBABILITIES:,} probabilities; {_TODO}."
        )
    probabilities = columns.pop(SAMPLE_PROBABILITIES, None)
    frame = pd.DataFrame(columns)
    if probabilities is None:
        return frame
    classes = [sample_probability(k) for k in range(probabilities.shape[1])]
    return pd.concat([frame, pd.DataFrame(probabilities, columns=classes)], axis="columns")


def _fit(columns: dict[str, np.ndarray]) -> bool:
    """Whether these are the columns that a run keeps: of one length, and of numbers."""
    if not _COLUMNS.keys() <= columns.keys():
        return False
    shape = columns[SAMPLE_INDEX].shape
    if len(shape) != 1 or shape[0] == 0:
        return False
    if any(columns[name].shape != shape or columns[name].dtype.kind not in kind for name, kind in _COLUMNS.items()):
        return False
    kept = columns.get(SAMPLE_PROBABILITIES)
    if kept is None:
        return True
    fits = kept.ndim == 2 and len(kept) == len(columns[SAMPLE_INDEX]) and kept.dtype.kind in _FLOATS
    return fits and 0 < kept.size <= MAX_PROBABILITIES
