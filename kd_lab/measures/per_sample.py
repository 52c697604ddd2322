"""What a network answers to each sample, small enough to be kept with every run.

Legend: N samples, K classes.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from kd_lab import names
from kd_lab.measures.predictive import check_pair

MAX_PROBABILITIES = 1_000_000
"""Whole probabilities are kept up to this many numbers (4 MB as float32): 10,000 samples of 100 classes."""


def per_sample(logits: Tensor, targets: Tensor, index: Tensor) -> dict[str, NDArray[Any]]:
    """The columns of `kd_lab.names` for predictions, [N] each, and the probabilities [N, K] where they are few.

    Confidence and probability of the target are float64, so that calibration computed from them is the logged one;
    the probabilities are float32, not float16, because a KL needs the small ones.

    Args:
        logits: [N, K], finite.
        targets: [N] int64, 0..K-1.
        index: [N] int64, the row of each sample in its dataset.

    Raises:
        ValueError: shapes that do not match, no samples, a target out of range, a logit that is not finite.
    """
    probabilities_nk = check_pair(logits, targets).softmax(dim=1)
    if index.shape != targets.shape:
        raise ValueError(f"Expected an index for each of {len(targets)} samples, but got {tuple(index.shape)}.")
    # argmax of the logits, as accuracy counts: where a probability rounds to 1, another may round to it too.
    predicted = logits.detach().cpu().argmax(dim=1)
    found = {
        names.SAMPLE_INDEX: index.cpu().numpy(),
        names.SAMPLE_TARGET: targets.cpu().numpy().astype(np.int32),
        names.SAMPLE_PREDICTED: predicted.numpy().astype(np.int32),
        names.SAMPLE_CONFIDENCE: probabilities_nk.amax(dim=1).numpy(),
        names.SAMPLE_TARGET_PROBABILITY: probabilities_nk.gather(1, targets.cpu()[:, None])[:, 0].numpy(),
    }
    if probabilities_nk.numel() <= MAX_PROBABILITIES:
        found[names.SAMPLE_PROBABILITIES] = probabilities_nk.numpy().astype(np.float32)
    return found
