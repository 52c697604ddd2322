"""Several networks that answer as one.

Source: Hinton, Vinyals, Dean 2015, section 2: the arithmetic or the geometric mean of the members' probabilities.
Legend: B batch, K classes, M members.
"""

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from kd_lab.models.common.inputs import check_positive

PROBABILITIES: Literal["probabilities"] = "probabilities"


class Ensemble(nn.Module):
    """The members' mean probability, or their mean logit.

    Args:
        member: builds one network; called `size` times, so each member starts from other weights.
        size: M.
        average: "probabilities" gives the log of the members' mean probability, so that its softmax is that mean: the
            better calibrated. "logits" gives the mean logit, a geometric mean: small probabilities, which count at high
            temperatures, are what all members say, not what the one that gives most says.

    Raises:
        ValueError: `size` below 1.
    """

    def __init__(
        self, member: Callable[[], nn.Module], size: int, *, average: Literal["probabilities", "logits"] = PROBABILITIES
    ) -> None:
        super().__init__()
        check_positive(size=size)
        self.average = average
        self.members = nn.ModuleList(member() for _ in range(size))

    def forward(self, *inputs: Tensor, **named: Tensor) -> Tensor:
        """Inputs [B, *input_shape], one or several by name, to logits [B, K], float32 also under autocast."""
        said = [_wide(member(*inputs, **named)) for member in self.members]
        if self.average != PROBABILITIES:
            return torch.stack(said).mean(dim=0)
        return mean_probability(said)


def mean_probability(said: Sequence[Tensor]) -> Tensor:
    """The logarithm [B, K] of the mean of the probabilities that logits [B, K] each stand for."""
    log_mbk = torch.stack([logits_bk.log_softmax(dim=-1) for logits_bk in said])
    return log_mbk.logsumexp(dim=0) - math.log(len(said))


def _wide(logits_bk: Tensor) -> Tensor:
    # Half precision would lose the small probabilities that a student learns from.
    return logits_bk if logits_bk.dtype == torch.float64 else logits_bk.float()
