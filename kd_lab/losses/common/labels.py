"""Labels for the losses that split the classes by the label, where not every sample has one.

Legend: B batch, K classes.
"""

import torch
from torch import Tensor

from kd_lab.types import UNLABELLED


def label_or_teachers(targets_B: Tensor, teacher_logits_BK: Tensor) -> Tensor:
    """The label of each sample; where it is unknown, the class that the teacher finds most probable.

    The papers know labelled samples only. The label there says which class is set apart from the others; on a sample
    without one the teacher's own first choice is the natural stand-in, and the loss stays a mean over all samples.
    """
    return torch.where(targets_B == UNLABELLED, teacher_logits_BK.argmax(dim=-1), targets_B)
