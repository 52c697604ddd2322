"""Samples of like length in the same step, so that little of a batch is padding: what is trained skips less of it.

Texts are drawn in random order, those of `WINDOW` steps sorted by length and cut into steps, and the steps drawn in
random order: sequence bucketing (Khomenko et al. 2016, arXiv:1708.05604), in windows instead of fixed borders, so that
it needs no setting. Each sample comes once in an epoch, as without.

Legend: R rows.
"""

import torch
from torch import Tensor

from kd_lab.errors import UserError
from kd_lab.inputs import mask_of
from kd_lab.types import Data

WINDOW = 50
"""Steps whose samples are sorted together: more leave less padding and less of the random order."""
CHUNK = 4096
"""Rows that are looked at together."""


def lengths_of(data: Data, rows: Tensor) -> Tensor:
    """How many tokens the samples of the rows [R] have, [R] int64 on the CPU.

    Raises:
        UserError: they have no mask that says so.
    """
    found = []
    for some in torch.split(rows, CHUNK):
        mask = mask_of(data.read(some))
        if mask is None:
            raise UserError(
                f"Expected `by_length` to be false with {data.name}, whose samples are no texts of different lengths, "
                "but got True."
            )
        found.append(mask.sum(1).cpu())
    return torch.cat(found)


def by_length(lengths: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """The places [R] of samples that were drawn in random order, in an order in which each step has like lengths.

    A last step that is not full stays the last one, and has the samples that were drawn last.

    Args:
        lengths: [R], of the samples as they were drawn.
        size: samples per step.
        generator: draws the order of the steps.
    """
    full = len(lengths) // size * size
    windows = torch.split(torch.arange(full), size * WINDOW)
    steps = torch.cat([window[lengths[window].argsort(stable=True)] for window in windows]).reshape(-1, size)
    drawn = steps[torch.randperm(len(steps), generator=generator)].flatten()
    return torch.cat([drawn, torch.arange(full, len(lengths))])
