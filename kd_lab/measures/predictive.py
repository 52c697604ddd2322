"""How good a network's answers are: accuracy, F1, area under the ROC, likelihood, Brier score, calibration.

Sources: Brier 1950 (summed over classes, 0..2); ECE: Guo et al. 2017, eq. 3. Where we differ: the 15 bins of ECE are
closed on the right, (a, b], as in Guo's code; confidence 0 counts into the first. Balanced accuracy, F1 and area are
means over the classes that the targets hold. Sums run over samples in float64.
Accuracy is our own: torchmetrics returns float32, and breaks ties in the top 5 arbitrarily.
Legend: N samples, K classes, M bins.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch import Tensor

from kd_lab import names
from kd_lab.types import Measurement

NUM_BINS = 15
TOP5_FROM_CLASSES = 10
AUROC_TO_CLASSES = 20


class Reliability(NamedTuple):
    """Per confidence bin, [M] each: samples, mean confidence and accuracy (both 0 in a bin without samples)."""

    counts: NDArray[np.int64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]

    @property
    def ece(self) -> float:
        """Expected calibration error, 0..1: the bins' gaps weighted by their samples."""
        gaps = np.abs(self.accuracy - self.confidence)
        return float((self.counts * gaps).sum() / self.counts.sum())


def predictive(logits: Tensor, targets: Tensor) -> Measurement:
    """Top-1, top-5 (from 10 classes up), what shows unequal classes (`by_class`), NLL in nats, Brier score and ECE.

    Ties count for the class with the lower number, as in argmax.

    Args:
        logits: [N, K], finite.
        targets: [N] int64, 0..K-1.

    Raises:
        ValueError: shapes that do not match, no samples, a target out of range, a logit that is not finite.
    """
    logits_nk = check_pair(logits, targets)
    targets = targets.cpu()
    log_nk = logits_nk.log_softmax(dim=1)
    rank_n = _rank(logits_nk, targets)
    truth_nk = torch.nn.functional.one_hot(targets, logits_nk.shape[1])
    found = {names.TEST_ACCURACY_TOP1: (rank_n < 1).double().mean().item()}
    if logits_nk.shape[1] >= TOP5_FROM_CLASSES:
        found[names.TEST_ACCURACY_TOP5] = (rank_n < 5).double().mean().item()
    found |= by_class(logits_nk, targets)
    found[names.TEST_NLL_NATS] = -log_nk.gather(1, targets[:, None]).mean().item()
    found[names.TEST_BRIER] = (log_nk.exp() - truth_nk).square().sum(dim=1).mean().item()
    found[names.TEST_ECE] = reliability_bins(logits, targets).ece
    return found


def by_class(logits_nk: Tensor, targets: Tensor) -> Measurement:
    """Balanced accuracy (mean recall), macro F1, macro area under the ROC (one class against the rest, to 20 classes),
    what always answering the commonest class would reach, and how many classes are answered; raises as `predictive`.

    The area is the Mann-Whitney statistic: how often a sample of the class has the higher probability of it than one
    of another class, a tie counted as half.
    """
    counts = confusion(logits_nk, targets)
    hits, true, answered = counts.diagonal(), counts.sum(axis=1), counts.sum(axis=0)
    there = true > 0
    found = {
        names.TEST_ACCURACY_BALANCED: float((hits[there] / true[there]).mean()),
        names.TEST_F1_MACRO: float((2 * hits[there] / (true + answered)[there]).mean()),
        names.TEST_MAJORITY: float(true.max() / true.sum()),
        names.TEST_CLASSES_ANSWERED: float((answered > 0).sum()),
    }
    if len(there) <= AUROC_TO_CLASSES and there.sum() > 1:
        ranks = rankdata(logits_nk.softmax(dim=1).numpy()[:, there], axis=0)
        own = np.eye(len(there), dtype=bool)[targets.numpy()][:, there]
        inside, outside = true[there], true.sum() - true[there]
        above = (ranks * own).sum(axis=0) - inside * (inside + 1) / 2
        found[names.TEST_AUROC_MACRO] = float((above / (inside * outside)).mean())
    return found


def reliability_bins(logits: Tensor, targets: Tensor) -> Reliability:
    """The bins of the reliability diagram, for logits [N, K] and targets [N]; raises as `predictive`."""
    logits_nk = check_pair(logits, targets)
    right = (logits_nk.argmax(dim=1) == targets.cpu()).double()
    confidence = logits_nk.softmax(dim=1).amax(dim=1)
    edges = torch.tensor([i / NUM_BINS for i in range(1, NUM_BINS)], dtype=torch.float64)
    # right=False: edges[i-1] < v <= edges[i], which is (a, b].
    bins = torch.bucketize(confidence, edges, right=False)
    counts = torch.bincount(bins, minlength=NUM_BINS)
    safe = counts.clamp(min=1).double()
    return Reliability(
        counts=counts.numpy(),
        confidence=(torch.bincount(bins, confidence, NUM_BINS) / safe).numpy(),
        accuracy=(torch.bincount(bins, right, NUM_BINS) / safe).numpy(),
    )


def confusion(logits: Tensor, targets: Tensor) -> NDArray[np.int64]:
    """Counts [K, K]: row the true class, column the predicted one; raises as `predictive`."""
    from torchmetrics.functional.classification import multiclass_confusion_matrix

    logits_nk = check_pair(logits, targets)
    counts = multiclass_confusion_matrix(logits_nk.argmax(dim=1), targets.cpu(), logits_nk.shape[1])
    result: NDArray[np.int64] = counts.numpy().astype(np.int64)
    return result


def check_pair(logits: Tensor, targets: Tensor) -> Tensor:
    """The logits as float64 on the CPU, after the checks that `predictive` names."""
    if logits.dim() != 2 or targets.shape != logits.shape[:1] or len(logits) == 0:
        raise ValueError(
            f"Expected logits [N, K] and targets [N] with N at least 1, but got {tuple(logits.shape)} and "
            f"{tuple(targets.shape)}."
        )
    low, high = int(targets.min()), int(targets.max())
    if low < 0 or high >= logits.shape[1]:
        raise ValueError(f"Expected targets in 0..{logits.shape[1] - 1}, but got {low}..{high}.")
    bad = int((~logits.isfinite()).any(dim=1).sum())
    if bad:
        raise ValueError(f"Expected finite logits, but {bad} of {len(logits)} samples have NaN or infinite ones.")
    return logits.detach().cpu().double()


def _rank(logits_nk: Tensor, targets: Tensor) -> Tensor:
    """How many classes come before the true one, [N]."""
    own = logits_nk.gather(1, targets[:, None])
    classes = torch.arange(logits_nk.shape[1])
    before = (logits_nk > own) | ((logits_nk == own) & (classes < targets[:, None]))
    return before.sum(dim=1)
