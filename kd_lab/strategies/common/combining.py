"""What several teachers say of a batch, made one; and how much each of them counts, by sample or as a whole.

Legend: M teachers, B batch, K classes. Weights of a sample sum to 1 over the teachers.
"""

import math

import torch
from scipy.optimize import minimize
from torch import Tensor
from torch.nn import functional as F

from kd_lab.types import Batch, labelled

SURE = 1e4
"""Nats: a cross-entropy beyond it counts as it, so that a class of probability 0 leaves the weights numbers."""


def mean_probability(logits_MBK: Tensor) -> Tensor:
    """Logits [B, K] whose softmax is the mean of the teachers', at T = 1: `logsumexp_m log p_m - log M`."""
    return logits_MBK.log_softmax(dim=-1).logsumexp(dim=0) - math.log(len(logits_MBK))


def weighted(logits_MBK: Tensor, weights_MB: Tensor, temperature: float = 1.0) -> Tensor:
    """Logits [B, K] whose softmax at T is `sum_m w_m p_m^T`.

    KL to it has the gradient of `sum_m w_m KL(p_m^T || p_s^T)`, of which it is the part that the student can change.
    """
    log_p_MBK = (logits_MBK / temperature).log_softmax(dim=-1)
    return temperature * (log_p_MBK + weights_MB.log().unsqueeze(-1)).logsumexp(dim=0)


def by_entropy(logits_MBK: Tensor) -> Tensor:
    """[M, B], `(1 - H(p_m) / sum_j H(p_j)) / (M - 1)` at T = 1: who is sure of a sample counts more.

    Source: Kwon et al. 2020 (ICASSP), entropy-based weights, here so that they sum to 1.
    """
    entropy_MB = torch.special.entr(logits_MBK.softmax(dim=-1)).sum(dim=-1)
    sum_B = entropy_MB.sum(dim=0)
    share_MB = torch.where(sum_B > 0, entropy_MB / torch.where(sum_B > 0, sum_B, 1.0), 1 / len(logits_MBK))
    return (1 - share_MB) / (len(logits_MBK) - 1)


def by_confidence(logits_MBK: Tensor, batch: Batch) -> Tensor:
    """[M, B], `(1 - softmax_m CE(z_m, y)) / (M - 1)`: who is right of a sample counts more; all alike without a label.

    Source: Zhang, Chen, Wang 2022 (CA-MKD, arXiv:2201.00007), equation 3. Of mixed samples the mixed cross-entropy.
    """
    teachers = len(logits_MBK)
    loss_MB = _cross_entropy(logits_MBK, batch.targets)
    if batch.mixed is not None:
        other_MB = _cross_entropy(logits_MBK, batch.mixed.targets)
        loss_MB = batch.mixed.share * loss_MB + (1 - batch.mixed.share) * other_MB
    weights_MB = (1 - loss_MB.softmax(dim=0)) / (teachers - 1)
    return torch.where(labelled(batch.targets, batch.mixed) >= 1, weights_MB, 1 / teachers)


def _cross_entropy(logits_MBK: Tensor, targets_B: Tensor) -> Tensor:
    known_B = targets_B.clamp(min=0)
    log_p_MBK = logits_MBK.log_softmax(dim=-1)
    return torch.stack([F.nll_loss(log_p_BK, known_B, reduction="none") for log_p_BK in log_p_MBK]).clamp(max=SURE)


def min_norm(products_MM: Tensor, cap: float) -> Tensor:
    """[M] float64 on the CPU, w >= 0 and <= cap with sum 1, at which `|sum_m w_m g_m|^2` is least.

    Source: Du et al. 2020 (AE-KD, NeurIPS), equation 5: a direction in which no teacher's loss grows, the cap keeping
    one from deciding alone.

    Args:
        products_MM: the inner products of the gradients g_m.
        cap: at least 1 / M.
    """
    products = products_MM.detach().double().cpu()
    scale = float(products.diagonal().mean())
    start = torch.full((len(products),), 1 / len(products), dtype=torch.float64)
    if not (scale > 0 and math.isfinite(scale)):
        return start  # no gradient, or one that the recorder is about to stop
    gram = (products / scale).numpy()
    found = minimize(
        lambda w: w @ gram @ w,
        start.numpy(),
        jac=lambda w: 2 * gram @ w,
        bounds=[(0.0, cap)] * len(gram),
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1, "jac": lambda w: w * 0 + 1},
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 200},
    )
    weights = torch.from_numpy(found.x).clamp(0, cap)
    return weights / weights.sum()
