"""FitNets, naively: the mean squared difference of the teacher's hint and what a regressor makes of the student's
layer.

Source: Romero et al. 2015 (arXiv:1412.6550), equation 3, with CRD's regressor: convolution, batch normalisation, ReLU.
"""

from typing import Any

import numpy as np

from tests.reference.arrays import Array, Integers, Outputs, relu
from tests.reference.layers import batch_norm_train, conv, conv_transpose, linear, resized


def reference(student: Outputs, teacher: Outputs, targets: Integers, index: Integers, state: dict[str, Array]) -> Any:
    """`state`: regressor.weight, .bias of a linear layer; or regressor.0, a convolution, and .1, a normalisation."""
    own, theirs = student.features[0], teacher.features[0]
    if own.ndim == 2:
        predicted = linear(own, state["regressor.weight"], state["regressor.bias"])
    else:
        weight, bias = state["regressor.0.weight"], state["regressor.0.bias"]
        now, wanted = own.shape[2:], theirs.shape[2:]
        if all(n == 2 * w for n, w in zip(now, wanted, strict=True)):
            predicted = conv(own, weight, bias, stride=2, padding=1)
        elif all(2 * n == w for n, w in zip(now, wanted, strict=True)):
            predicted = conv_transpose(own, weight, bias, stride=2, padding=1)
        else:
            predicted = conv(resized(own, wanted), weight, bias)
        predicted = relu(batch_norm_train(predicted, state["regressor.1.weight"], state["regressor.1.bias"]))
    return np.mean((predicted - theirs) ** 2)
