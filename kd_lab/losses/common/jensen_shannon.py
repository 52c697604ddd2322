"""The generalized Jensen-Shannon divergence, of log-probabilities.

Legend: B batch, K classes.
"""

import math

import torch
from torch import Tensor

from kd_lab.losses.common.probabilities import kl


def generalized_jsd(log_t_BK: Tensor, log_s_BK: Tensor, beta: float) -> Tensor:
    """mean_b beta KL(t || m) + (1 - beta) KL(s || m), m = beta t + (1 - beta) s, in nats.

    It vanishes at both ends. There stand, as published, what it tends to when divided by beta or by 1 - beta: KL(t ||
    s) for beta = 0 and KL(s || t) for beta = 1.
    """
    if beta == 0.0:
        return kl(log_t_BK, log_s_BK)
    if beta == 1.0:
        return kl(log_s_BK, log_t_BK)
    log_m_BK = torch.logaddexp(log_t_BK + math.log(beta), log_s_BK + math.log1p(-beta))
    return beta * kl(log_t_BK, log_m_BK) + (1 - beta) * kl(log_s_BK, log_m_BK)
