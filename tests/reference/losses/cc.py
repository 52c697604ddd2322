"""Correlation congruence, naively, as CRD's benchmark has it: distances of neighbours in the batch, multiplied.

Source: Peng et al. 2019 (arXiv:1904.01802) in the form of RepDistiller (distiller_zoo/CC.py, which says that the code
is the author's), with a linear layer for each network. The paper's own, on kernels between samples, is another.

`gather` has no effect on one process: a batch that is gathered from all processes is a batch.
"""

from typing import Any

import numpy as np

from tests.reference.arrays import Array, Integers, Outputs, absolute
from tests.reference.layers import flatten, linear


def reference(
    student: Outputs,
    teacher: Outputs,
    targets: Integers,
    index: Integers,
    state: dict[str, Array],
    *,
    dim: int,
    gather: bool = False,
) -> Any:
    """The mean over the B - 1 pairs of neighbours of sum_d |delta_i| |delta_(i+1)|."""
    e_s = linear(flatten(student.features[0]), state["student_embed.weight"], state["student_embed.bias"])
    e_t = linear(flatten(teacher.features[0]), state["teacher_embed.weight"], state["teacher_embed.bias"])
    assert e_s.shape == e_t.shape == (len(e_s), dim)
    distances = absolute(e_s - e_t)
    products = [np.sum(distances[i] * distances[i + 1]) for i in range(len(distances) - 1)]
    return sum(products) / len(products)
