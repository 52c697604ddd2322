"""What the tests of feature losses share: the value where the networks say what a test gives them."""

from typing import Any

import torch
from torch import Tensor

from kd_lab.losses.common.loss import Loss
from kd_lab.types import Batch, Outputs, Shape


def shapes(*features: Tensor) -> tuple[Shape, ...]:
    """Of single samples."""
    return tuple(tuple(feature.shape[1:]) for feature in features)


def value(kind: type[Loss], own: Tensor, theirs: Tensor, **settings: Any) -> Tensor:
    """Of a loss that is made for one layer of each network."""
    return said(kind(student_shapes=shapes(own), teacher_shapes=shapes(theirs), **settings), (own,), (theirs,))


def said(loss: Loss, own: tuple[Tensor, ...], theirs: tuple[Tensor, ...]) -> Tensor:
    """Of a loss that is there, for any number of layers."""
    logits = torch.zeros(len(own[0]), 2)
    found: Tensor = loss(Outputs(logits, own), Outputs(logits, theirs), Batch(logits, logits, logits))
    return found
