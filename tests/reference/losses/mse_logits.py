"""Mean squared error of the logits, naively. Source: Ba and Caruana 2014; Kim et al. 2021, arXiv:2105.08919.

L = mean over samples and classes of (z_s - z_t)^2. The equation of Kim et al. is the squared norm per sample, K times
that; their code (jhoon-oh/kd_data, tools/losses.py) takes the mean over classes as well, and so do we. `centre` takes
each sample's mean off its logits first: a softmax does not see that mean.
"""

from typing import Any

import numpy as np

from tests.reference.arrays import Array, Integers, Outputs


def reference(
    student: Outputs, teacher: Outputs, targets: Integers, index: Integers, state: dict[str, Array], *, centre: bool
) -> Any:
    """The mean over samples and classes of the squared difference of the logits."""
    z_s, z_t = student.logits, teacher.logits
    if centre:
        z_s = z_s - z_s.mean(axis=1, keepdims=True)
        z_t = z_t - z_t.mean(axis=1, keepdims=True)
    return np.mean((z_s - z_t) * (z_s - z_t))
