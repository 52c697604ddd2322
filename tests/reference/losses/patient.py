"""Patient KD, naively: Sun et al. 2019 (arXiv:1908.09355), equation 7; the mean over channels as the authors' code."""

from typing import Any

import numpy as np

from tests.reference.arrays import Array, Integers, Outputs
from tests.reference.layers import linear, unit


def reference(student: Outputs, teacher: Outputs, targets: Integers, index: Integers, state: dict[str, Array]) -> Any:
    """`state`: projectors.I.weight and .bias of each pair of layers whose widths differ."""
    total: Any = 0.0
    for i, (own, theirs) in enumerate(zip(student.features, teacher.features, strict=True)):
        first = own[:, :, 0]
        if f"projectors.{i}.weight" in state:
            first = linear(first, state[f"projectors.{i}.weight"], state[f"projectors.{i}.bias"])
        total = total + np.mean((unit(first, 1) - unit(theirs[:, :, 0], 1)) ** 2)
    return total / len(student.features)
