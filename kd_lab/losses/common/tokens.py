"""Which positions of a layer count: those of a text's tokens, not the padding behind them.

Legend: B batch, C channels, L positions.
"""

import torch
from torch import Tensor

from kd_lab.inputs import mask_of
from kd_lab.types import Batch, Shape


def counted(batch: Batch, feature: Tensor) -> Tensor:
    """1 for each position that counts and 0 for padding, [B, L] as the feature [B, C, L]; all count but in texts."""
    mask = mask_of(batch.inputs)
    if mask is None:
        return torch.ones_like(feature[:, 0])
    return mask.to(feature.dtype)


def mean_over(values_BL: Tensor, counted_BL: Tensor) -> Tensor:
    """The mean over the positions that count of each sample, then over the samples: a scalar."""
    kept_BL = values_BL.masked_fill(counted_BL == 0, 0.0)
    return (kept_BL.sum(1) / counted_BL.sum(1).clamp(min=1)).mean()


def check_tokens(student_shapes: tuple[Shape, ...], teacher_shapes: tuple[Shape, ...]) -> None:
    """Raises ValueError unless all layers are sequences, both of a pair of one length."""
    for own, theirs in zip(student_shapes, teacher_shapes, strict=True):
        if len(own) != 2 or len(theirs) != 2 or own[1] != theirs[1]:
            raise ValueError(
                "Expected both layers of a pair to be sequences [channels, length] of one length, but got "
                f"{list(own)} and {list(theirs)}."
            )
