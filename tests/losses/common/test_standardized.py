import math

import pytest
import torch

from kd_lab.losses.common.loss import standardized
from kd_lab.types import Outputs


def test_standardized__a_class_of_minus_infinity_is_refused() -> None:
    logits = torch.tensor([[1.0, 2.0, 3.0], [1.0, -math.inf, 3.0]])

    with pytest.raises(ValueError, match=r"Expected finite logits to standardize, .* but got -inf"):
        standardized(Outputs(logits))
