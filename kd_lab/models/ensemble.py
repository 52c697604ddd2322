"""Several networks that answer as one.

Source: Hinton, Vinyals, Dean 2015, section 2: the mean of the members' probabilities.
Legend: B batch, K classes, M members.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from kd_lab.models.common.inputs import check_positive


class Ensemble(nn.Module):
    """The log of the members' mean probability, so that its softmax is that mean.

    Args:
        member: builds one network; called `size` times, so each member starts from other weights.
        size: M.

    Raises:
        ValueError: `size` below 1.
    """

    def __init__(self, member: Callable[[], nn.Module], size: int) -> None:
        super().__init__()
        check_positive(size=size)
        self.members = nn.ModuleList(member() for _ in range(size))

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs [B, *input_shape] to log probabilities [B, K], float32 also under autocast."""
        log_mbk = torch.stack([_wide(member(inputs)).log_softmax(dim=-1) for member in self.members])
        return log_mbk.logsumexp(dim=0) - math.log(len(self.members))


def _wide(logits_bk: Tensor) -> Tensor:
    # Half precision would lose the small probabilities that a student learns from.
    return logits_bk if logits_bk.dtype == torch.float64 else logits_bk.float()
