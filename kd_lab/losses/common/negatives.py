"""Negative samples: rows of other classes, drawn at random, the same on every process.

Legend: B samples, K negatives of each, N rows of the dataset, R rows that take part.
"""

import hashlib

import torch
from torch import Tensor, nn

from kd_lab.types import UNLABELLED


class Negatives(nn.Module):
    """Draws for a sample rows of other classes; where its label is unknown, any rows but its own.

    A row without a label is a row of another class for every other sample. The rows that take part stand in a ring,
    class by class, so that a sample's others are what follows its class, around to where the class begins.

    The random numbers of a step follow from a seed, which torch's random state gives at construction, and the number
    of the step. Both are in the state, so that a training that is taken up again goes on with the same draws.

    Args:
        targets: [N] int64, `UNLABELLED` where there is no label.
        rows: [R] int64, those that take part; None: all.
        count: K.

    Raises:
        ValueError: a sample has no others.
    """

    ring: Tensor
    after: Tensor
    others: Tensor

    def __init__(self, targets: Tensor, rows: Tensor | None, count: int) -> None:
        super().__init__()
        rows = torch.arange(len(targets)) if rows is None else rows
        classes_R, order_R = targets[rows].sort(stable=True)
        ring_R = rows[order_R]
        begin_N, end_N = (torch.searchsorted(classes_R, targets, right=right) for right in (False, True))
        place_N = torch.full_like(targets, -1).index_copy(0, ring_R, torch.arange(len(rows)))
        alone_N = targets == UNLABELLED
        begin_N = torch.where(alone_N, place_N.clamp(min=0), begin_N)
        end_N = torch.where(alone_N, place_N + 1, end_N)
        others_N = len(rows) - (end_N - begin_N)
        if len(rows) == 0 or int(others_N[ring_R].min()) < 1:
            raise ValueError("Expected `targets` of at least two classes, but every sample is of the same one.")
        for name, table in (("ring", ring_R), ("after", end_N), ("others", others_N)):
            self.register_buffer(name, table, persistent=False)  # made anew from the dataset
        self.count, self._most = count, int(others_N.max())
        self.seed, self.step = int(torch.randint(2**62, ())), 0

    def numbers(self, samples: int) -> Tensor:
        """[samples, 1 + K] random numbers in [0, 1) for the next step."""
        mixed = hashlib.sha256(f"{self.seed} {self.step}".encode()).digest()[:8]
        self.step += 1
        generator = torch.Generator(self.ring.device).manual_seed(int.from_bytes(mixed, "big") >> 1)
        return torch.rand(samples, 1 + self.count, generator=generator, device=self.ring.device)

    def drawn(self, index_B: Tensor, numbers: Tensor) -> Tensor:
        """How often each row is drawn for each sample: [B, N] in float32, with sum K for each sample.

        No row is drawn twice where a sample has K others: they are cut, from a random start around the ring, into K
        parts of equal size (give or take one), and each part gives one. With fewer than K others, each draw is of all.

        Args:
            index_B: rows of the samples.
            numbers: [B, 1 + K] random numbers in [0, 1).
        """
        rank_BK = self._ranks(self.others[index_B].unsqueeze(1), numbers)
        drawn_BK = self.ring[rank_BK.add_(self.after[index_B].unsqueeze(1)).remainder_(len(self.ring))]
        counts_BN = numbers.new_zeros(len(index_B), len(self.after))
        return counts_BN.scatter_add_(1, drawn_BK, numbers.new_ones(()).expand_as(drawn_BK))

    def _ranks(self, others_B1: Tensor, numbers: Tensor) -> Tensor:
        """[B, K] of 0 to others - 1."""
        repeated_BK = (numbers[:, 1:] * others_B1).long()
        if self._most < self.count:
            return repeated_BK
        edges = torch.arange(self.count + 1, device=numbers.device) * others_B1 // self.count
        start_B1 = (numbers[:, :1] * others_B1).long()
        single_BK = (numbers[:, 1:] * edges.diff(dim=1)).long().add_(edges[:, :-1]).add_(start_B1)
        return torch.where(others_B1 < self.count, repeated_BK, single_BK.remainder_(others_B1))

    def get_extra_state(self) -> Tensor:
        """Seed and step."""
        return torch.tensor([self.seed, self.step])

    def set_extra_state(self, state: Tensor) -> None:
        """What `get_extra_state` gave."""
        self.seed, self.step = state.tolist()
