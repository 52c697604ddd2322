"""Classes that a network excludes by a logit of -inf.

Their probability is 0, and 0 times the logarithm of it is 0; in floating point that product is no number. So where a
loss comes out as none, the -inf are replaced by a number so low that its probability is 0 too. Its logarithm is finite,
and it has no gradient. What would be infinite in truth is of its size then, and refused.

Legend: B batch, K classes.
"""

from dataclasses import replace

import torch
from torch import Tensor

from kd_lab.types import Outputs

MOST = 1e20
"""A loss above it is infinite in truth: in float32 a probability of about 1e-12 or more met the replaced logarithm."""


def any_masked(*networks: Outputs) -> bool:
    """Whether a class is excluded, and every logit is a number. Waits for the accelerator.

    Raises:
        ValueError: a sample has no other class.
    """
    logits = [z for outputs in networks for z in (outputs.logits, *outputs.views)]
    if any(bool(z.isnan().any()) for z in logits):
        return False  # of a network that diverged nothing else is worth saying
    masks = [z.isneginf() for z in logits]
    if any(bool(mask_BK.all(dim=-1).any()) for mask_BK in masks):
        raise ValueError("Expected a finite logit in every sample, but got one whose logits are all -inf.")
    return any(bool(mask_BK.any()) for mask_BK in masks)


def unmasked(outputs: Outputs) -> Outputs:
    """The outputs with a finite number for -inf."""
    return replace(outputs, logits=_floored(outputs.logits), views=tuple(map(_floored, outputs.views)))


def _floored(logits_BK: Tensor) -> Tensor:
    # A millionth of the lowest number: it stays finite when it is divided by a temperature or a sum is taken.
    return logits_BK.clamp(min=torch.finfo(logits_BK.dtype).min * 1e-6)
