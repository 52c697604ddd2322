"""SRRL, naively: the connected vector of the student beside the teacher's, and what the teacher's classifier says of it
beside the teacher's logits.

Source: Yang et al. 2021 (ICLR, "Knowledge distillation via softmax regression representation learning"): L_FM, and L_SR
with the squared difference of logits; averages over the positions and the connector as in jingyang2017/KD_SRRL.
"""

from typing import Any

import numpy as np

from tests.reference.arrays import Array, Integers, Outputs, relu
from tests.reference.layers import batch_norm_train, conv, linear


def reference(
    student: Outputs,
    teacher: Outputs,
    targets: Integers,
    index: Integers,
    state: dict[str, Array],
    *,
    alpha: float,
    beta: float,
) -> Any:
    """`state`: connector.0, a convolution of one position or a linear layer, connector.1, a normalisation, and
    teacher_head, the classifier.
    """
    own, weight = student.features[0], state["connector.0.weight"]
    connected = linear(averaged(own), weight) if weight.ndim == 2 else conv(own, weight)
    connected = averaged(relu(batch_norm_train(connected, state["connector.1.weight"], state["connector.1.bias"])))
    read = linear(connected, state["teacher_head.weight"], state["teacher_head.bias"])
    return alpha * np.mean((connected - averaged(teacher.features[0])) ** 2) + beta * np.mean(
        (read - teacher.logits) ** 2
    )


def averaged(feature: Array) -> Array:
    """[B, C, *positions] to [B, C]."""
    return feature.reshape(*feature.shape[:2], -1).mean(axis=2)
