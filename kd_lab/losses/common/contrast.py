"""Noise-contrastive estimation against memories: each network's vector beside what the other one said before.

Legend: B samples, K negatives of each, G samples of all processes, N rows of the dataset, R that take part, D
dimensions.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kd_lab.losses.common.gather import gathered
from kd_lab.losses.common.negatives import Negatives

EPSILON = 1e-7
MOST_SCORES = 2**24
"""So many numbers at a time: 64 MiB in float32."""

Pair = tuple[Tensor, Tensor]
"""Of the student, of the teacher."""


class Memories(nn.Module):
    """Two memories [N, D], of the student's vectors and the teacher's, and the scale Z of the scores against each.

    The score of a vector v and a row m of the other network's memory is `<v, m>`; v comes divided by the temperature.
    `P = exp(score) / Z`. The scores of all N rows are computed, and each counts as often as it was drawn: that is less
    work than to copy K rows for each sample.
    """

    student: Tensor
    teacher: Tensor
    log_z: Tensor

    def __init__(self, rows: int, dim: int) -> None:
        super().__init__()
        for whose in ("student", "teacher"):  # uniform, of length 1 in the mean square, as in the authors' code
            self.register_buffer(whose, (2 * torch.rand(rows, dim) - 1) * math.sqrt(3 / dim))
        self.register_buffer("log_z", torch.zeros(2))

    def fix_z(self, scaled: Pair, index_B: Tensor, negatives: Negatives, numbers: Tensor) -> None:
        """Z is R times the mean of exp(score) over own rows and draws of this batch, of all processes."""
        parts = [
            torch.stack([_log_sum(v[part], m, index_B[part], counts) for v, m in self._sides(scaled)], dim=1)
            for part, counts in self._drawn(index_B, negatives, numbers)
        ]
        sums_G2 = gathered(torch.cat(parts))
        mean = sums_G2.logsumexp(dim=0) - math.log(len(sums_G2) * (1 + negatives.count))
        self.log_z.copy_(mean + math.log(len(negatives.ring)))

    def told_apart(self, scaled: Pair, index_B: Tensor, negatives: Negatives, numbers: Tensor) -> tuple[Tensor, Pair]:
        """The loss of each sample, both directions added [B], and its derivatives by both networks' vectors [B, D]."""
        noise = negatives.count / len(negatives.ring)
        sides = list(zip(self._sides(scaled), self.log_z + math.log(noise + EPSILON), strict=True))
        found = [
            [_told_apart(v[part], m, index_B[part], counts, shift) for (v, m), shift in sides]
            for part, counts in self._drawn(index_B, negatives, numbers)
        ]
        # A negative counts log (P + noise + eps) - log noise; what was computed has noise + eps in both places.
        rest = 2 * negatives.count * math.log1p(EPSILON / noise)
        own, theirs = (torch.cat([part[side][1] for part in found]) for side in (0, 1))
        return torch.cat([own[0] + theirs[0] for own, theirs in found]) + rest, (own, theirs)

    def remember(self, said: Pair, index_G: Tensor, momentum: float) -> None:
        """`m <- momentum m + (1 - momentum) v`, brought to length 1; the last v, where a row is there twice."""
        places = torch.arange(len(index_G), device=index_G.device)
        last_G = torch.where(index_G[:, None] == index_G, places, 0).amax(dim=1)
        for memory, vectors in zip((self.student, self.teacher), said, strict=True):
            mixed = momentum * memory[index_G] + (1 - momentum) * vectors[last_G]
            memory.index_copy_(0, index_G, F.normalize(mixed, dim=1))

    def _sides(self, scaled: Pair) -> tuple[Pair, Pair]:
        return (scaled[0], self.teacher), (scaled[1], self.student)

    def _drawn(self, index_B: Tensor, negatives: Negatives, numbers: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """How often each row was drawn, for so many samples at a time that there are at most MOST_SCORES numbers."""
        at_a_time = max(1, MOST_SCORES // max(len(self.student), negatives.count))
        for start in range(0, len(index_B), at_a_time):
            part = slice(start, start + at_a_time)
            yield part, negatives.drawn(index_B[part], numbers[part]).to(self.log_z.dtype)


def _log_sum(scaled_BD: Tensor, memory_ND: Tensor, index_B: Tensor, counts_BN: Tensor) -> Tensor:
    """log of the sum of exp(score) over the own row and those drawn, [B]."""
    own_B1 = (scaled_BD * memory_ND[index_B]).sum(dim=1, keepdim=True)
    return torch.cat([scaled_BD @ memory_ND.T + counts_BN.log(), own_B1], dim=1).logsumexp(dim=1)


def _told_apart(scaled_BD: Tensor, memory_ND: Tensor, index_B: Tensor, counts_BN: Tensor, shift: Tensor) -> Pair:
    """`-log sigmoid(x_own) - sum_n count_n log sigmoid(-x_n)`, x = score - shift, and the derivative by the vectors."""
    own_BD = memory_ND[index_B]
    own_B = (scaled_BD * own_BD).sum(dim=1) - shift
    logits_BN = torch.addmm(-shift, scaled_BD, memory_ND.T)
    values_B = F.softplus(-own_B) + (F.softplus(logits_BN) * counts_BN).sum(dim=1)
    pulls_BN = logits_BN.sigmoid_().mul_(counts_BN)
    return values_B, pulls_BN @ memory_ND - (-own_B).sigmoid().unsqueeze(1) * own_BD
