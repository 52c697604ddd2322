"""The means of the terms over some steps, of all processes, kept on the device.

Legend: K terms.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, distributed, nn

from kd_lab.types import Batch, labelled


class MeanTerms(nn.Module):
    """Sums of terms over the samples that each is a mean of, until they are asked for.

    Args:
        count: K.
    """

    def __init__(self, count: int) -> None:
        super().__init__()
        self.sums: Tensor
        self.counts: Tensor
        self.register_buffer("sums", torch.zeros(count, dtype=torch.float64))
        self.register_buffer("counts", torch.zeros(count, dtype=torch.float64))

    def see(self, terms: Sequence[Tensor], is_labelled: Sequence[bool], batch: Batch) -> None:
        """Take the terms of a batch in; is_labelled: which are means over its labelled samples alone."""
        known = labelled(batch.targets, batch.mixed).sum()
        samples = known.new_tensor(len(batch.targets))
        counts = torch.stack([known if one else samples for one in is_labelled]).to(self.counts)
        self.sums += torch.stack([term.detach() for term in terms]).to(self.sums) * counts
        self.counts += counts

    def close(self) -> Tensor:
        """The means [K] in float32, NaN of a term that had no sample; nothing is left."""
        if distributed.is_available() and distributed.is_initialized():
            distributed.all_reduce(self.sums)
            distributed.all_reduce(self.counts)
        means = (self.sums / self.counts).float()
        self.sums.zero_()
        self.counts.zero_()
        return means
