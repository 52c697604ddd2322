"""What may be asked of inputs without knowing whether they have names."""

import pytest
import torch

from kd_lab.inputs import Inputs, equal

ONE = torch.arange(6).reshape(3, 2)


@pytest.mark.parametrize(
    ("other", "alike"),
    [
        (ONE.clone(), True),
        (ONE + 1, False),
        (ONE[:2], False),
        ({"tokens": ONE}, False),
    ],
)
def test_equal__of_a_tensor(other: Inputs, *, alike: bool) -> None:
    assert equal(ONE, other) is alike
    assert equal(other, ONE) is alike


@pytest.mark.parametrize(
    ("other", "alike"),
    [
        ({"mask": ONE + 1, "tokens": ONE.clone()}, True),
        ({"tokens": ONE, "mask": ONE}, False),
        ({"tokens": ONE}, False),
        ({"tokens": ONE, "masks": ONE + 1}, False),
    ],
)
def test_equal__of_tensors_by_name(other: Inputs, *, alike: bool) -> None:
    assert equal({"tokens": ONE, "mask": ONE + 1}, other) is alike
