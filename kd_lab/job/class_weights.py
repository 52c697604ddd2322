"""The weight of each class in the cross-entropy with hard labels."""

import torch
from torch import Tensor

from kd_lab.errors import UserError
from kd_lab.job.settings import ClassWeights
from kd_lab.types import UNLABELLED, Data


def class_weights(key: str, wanted: ClassWeights, data: Data, rows: Tensor) -> Tensor | None:
    """The weights [K]; None: all alike. Balanced, their mean over the labelled ones of these rows is 1.

    Args:
        key: of the recipe, for messages.
        wanted: "balanced": n / (classes * n_k), as in scikit-learn; or a number for each class.
        data: whose classes.
        rows: those trained on.

    Raises:
        UserError: another number of weights than of classes, or all of them 0.
    """
    if wanted is None:
        return None
    if wanted == "balanced":
        targets = data.targets[rows]
        counts = torch.bincount(targets[targets != UNLABELLED], minlength=data.num_classes)
        there = counts > 0
        weights = counts.sum() / (there.sum() * counts.clamp(min=1))
        return torch.where(there, weights, 0.0)
    if len(wanted) != data.num_classes or not any(wanted):
        raise UserError(
            f"{key}.class_weights={list(wanted)}: expected a weight for each of the {data.num_classes} classes, one of "
            "them above 0, or balanced"
        )
    return torch.tensor(wanted, dtype=torch.float32)
