"""What a temperature does to kept probabilities, and how much they then say. Pure functions on arrays.

The softmax at temperature T of logits z is proportional to `exp(z / T)`, so to `p^(1/T)` of the probabilities p at
temperature 1: what a run kept is enough. Legend: N samples, K classes.
"""

import numpy as np
import pandas as pd

from kd_lab.errors import UserError
from kd_lab.names import SAMPLE_CONFIDENCE, sample_probability

SMALLEST = float(np.finfo(np.float32).smallest_subnormal)
"""A smaller probability was kept as 0; its logarithm is at most this one's."""


def probabilities(frame: pd.DataFrame) -> np.ndarray:
    """The probabilities [N, K] of a table of `kd_lab.analysis.predictions.predictions`, float64.

    Raises:
        UserError: they were too many to be kept.
    """
    prefix = sample_probability(0)[:-1]
    found = [name for name in frame.columns if name.startswith(prefix) and name.removeprefix(prefix).isdigit()]
    if not found:
        raise UserError("This run kept no whole probabilities: samples times classes are more than a million.")
    return np.asarray(frame[found].to_numpy(dtype=np.float64))


def log_probabilities(kept: np.ndarray) -> np.ndarray:
    """Natural logarithms [N, K]; of what was kept as 0, that of the smallest number that could have been kept."""
    return np.asarray(np.log(np.maximum(kept, SMALLEST)))


def softened(kept: np.ndarray, temperature: float) -> np.ndarray:
    """The same network's probabilities [N, K] at another temperature, from those at 1.

    Raises:
        ValueError: a temperature that is not above 0.
    """
    if not temperature > 0:
        raise ValueError(f"Expected `temperature` to be > 0, but got {temperature}.")
    log = log_probabilities(kept) / temperature
    found = np.exp(log - log.max(axis=1, keepdims=True))
    return np.asarray(found / found.sum(axis=1, keepdims=True))


def entropy_nats(kept: np.ndarray) -> np.ndarray:
    """`-sum_k p_k ln p_k` of each row, [N]: from 0, one class is certain, to ln K, all are alike."""
    return np.asarray(-(kept * np.log(np.where(kept > 0, kept, 1.0))).sum(axis=1))


def spread_out(frame: pd.DataFrame, num: int) -> np.ndarray:
    """The places of `num` samples from the surest answer to the least sure one, in equal steps of rank."""
    order = np.argsort(-frame[SAMPLE_CONFIDENCE].to_numpy(dtype=np.float64), kind="stable")
    return np.asarray(order[np.linspace(0, len(order) - 1, min(num, len(order))).round().astype(int)])
