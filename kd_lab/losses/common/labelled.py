"""Means over the labelled samples alone, for what is defined by the label.

Legend: B batch.
"""

import torch
from torch import Tensor

from kd_lab.types import UNLABELLED


def labelled_mean(values_B: Tensor, targets_B: Tensor) -> Tensor:
    """The mean of the values of the samples with a label; 0, with a gradient of 0, where there is none."""
    labelled_B = targets_B != UNLABELLED
    return torch.where(labelled_B, values_B, 0.0).sum() / labelled_B.sum().clamp(min=1)


def any_label(targets_B: Tensor) -> Tensor:
    """The labels, and the class 0 where there is none: to look something up for samples that are left out later."""
    return targets_B.clamp(min=0)
