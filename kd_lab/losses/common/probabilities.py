"""Softened log-probabilities and the divergences made of them, each a mean over the samples.

Legend: B batch, K classes.
"""

from torch import Tensor
from torch.nn import functional as F


def log_softmax(logits_BK: Tensor, temperature: float | Tensor = 1.0) -> Tensor:
    """log p of p = softmax(logits / T), over the classes. T: a number, or [B, 1] for one of each sample."""
    tempered_BK = logits_BK if isinstance(temperature, float) and temperature == 1.0 else logits_BK / temperature
    return F.log_softmax(tempered_BK, dim=-1)


def kl(log_p_BK: Tensor, log_q_BK: Tensor) -> Tensor:
    """mean_b KL(p || q) = mean_b sum_k p (log p - log q), in nats, of two log-probabilities [B, K], both finite."""
    return F.kl_div(log_q_BK, log_p_BK, reduction="sum", log_target=True) / len(log_p_BK)
