"""Divergences from a mixture of the two distributions, each a mean over the samples, in log space.

With `m = share p + (1 - share) q`, `log(p / m)` is `logsigmoid(log p - log q + log(share / (1 - share))) - log share`:
no probability is added to another or divided by one, so neither a vanishing probability nor a share near 0 loses
digits.

Legend: B batch, K classes.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from kd_lab.losses.common.probabilities import kl


def skewed_kl(log_p_BK: Tensor, log_q_BK: Tensor, share: float) -> Tensor:
    """mean_b KL(p || share p + (1 - share) q), in nats, for 0 <= share < 1; at 0 it is KL(p || q)."""
    if share == 0:
        return kl(log_p_BK, log_q_BK)
    log_p_over_m_BK = F.logsigmoid(log_p_BK - log_q_BK + _log_odds(share)) - math.log(share)
    return (log_p_BK.exp() * log_p_over_m_BK).sum() / len(log_p_BK)


def generalized_jsd(log_p_BK: Tensor, log_q_BK: Tensor, share: float) -> Tensor:
    """`jensen_shannon`, and the two KLs as its ends, by definition: KL(p || q) at 0 and KL(q || p) at 1."""
    if share == 0:
        return kl(log_p_BK, log_q_BK)
    if share == 1:
        return kl(log_q_BK, log_p_BK)
    return jensen_shannon(log_p_BK, log_q_BK, share)


def jensen_shannon(log_p_BK: Tensor, log_q_BK: Tensor, share: float) -> Tensor:
    """mean_b [share KL(p || m) + (1 - share) KL(q || m)], in nats, for 0 < share < 1.

    Its slope by log p is share p log(p / m), as if the logarithm were a constant: m is the distribution that makes the
    sum least, so the slope by m is 0, and p sums to 1. So no graph is built of the logarithms. (Second derivatives
    would need one.)
    """
    if share > 0.5:  # the smaller share is p's: what is of its size must not be a difference of larger numbers
        return jensen_shannon(log_q_BK, log_p_BK, 1 - share)
    with torch.no_grad():
        against_BK = log_q_BK - log_p_BK - _log_odds(share)
        log_of_q_BK = F.logsigmoid(against_BK)  # (1 - share) q / m: that a class, drawn from m, was drawn from q
        log_p_over_m_BK = log_of_q_BK - against_BK - math.log(share)
        log_q_over_m_BK = log_of_q_BK - math.log1p(-share)
    from_p, from_q = (log_p_BK.exp() * log_p_over_m_BK).sum(), (log_q_BK.exp() * log_q_over_m_BK).sum()
    return (share * from_p + (1 - share) * from_q) / len(log_p_BK)


def _log_odds(share: float) -> float:
    return math.log(share) - math.log1p(-share)
