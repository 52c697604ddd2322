"""Simple-recipe distillation, naively: log of the summed powers of the differences of two normalised vectors.

Source: Miles and Mikolajczyk 2024 (arXiv:2303.11098), the soft maximum of section 3; BatchNorm without
parameters and of epsilon 1e-4 as in the authors' code (roymiles/Simple-Recipe-Distillation,
imagenet/torchdistill/losses/single.py), 1e-5 in the logarithm as in their deit/models.py. There the sum runs over the
batch too; ours is divided by B.
"""

from typing import Any

import numpy as np

from tests.reference.arrays import Array, Integers, Outputs, absolute
from tests.reference.layers import batch_norm_train, linear

OF_NORMS = 1e-4
IN_LOGARITHM = 1e-5


def reference(
    student: Outputs, teacher: Outputs, targets: Integers, index: Integers, state: dict[str, Array], *, alpha: float
) -> Any:
    """Features with positions are averaged over them first."""
    e_s, e_t = (averaged(outputs.features[0]) for outputs in (student, teacher))
    own = batch_norm_train(linear(e_s, state["projector.weight"], state["projector.bias"]), eps=OF_NORMS)
    theirs = batch_norm_train(e_t, eps=OF_NORMS)
    total: Any = 0.0
    for own_sample, their_sample in zip(own, theirs, strict=True):
        total = total + np.sum(absolute(own_sample - their_sample) ** alpha)
    return np.log(total / len(own) + IN_LOGARITHM)


def averaged(feature: Array) -> Array:
    """[B, C, *positions] to [B, C]."""
    result: Array = feature.reshape(*feature.shape[:2], -1).mean(axis=2)
    return result
