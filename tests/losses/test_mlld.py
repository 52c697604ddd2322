import math

import pytest
import torch
from torch import Tensor

from kd_lab.losses.mlld import MLLD
from kd_lab.types import Outputs
from tests.contracts.loss_cases import batch, noise

SETTINGS = [{"temperatures": [1.0]}, {"temperatures": [4.0, 0.5]}]
REFUSED = [
    ({"temperatures": []}, r"Expected `temperatures` to hold at least one number, but got none\."),
    ({"temperatures": [2.0, -1.0]}, r"Expected `temperatures` to be > 0, but got -1\.0\."),
]


def value(loss: MLLD, student: Outputs, teacher: Outputs) -> Tensor:
    found: Tensor = loss(student, teacher, batch(len(student.logits), classes=student.logits.shape[1]))
    return found


def test_mlld__one_sample_of_two_classes_by_hand() -> None:
    """Teacher 3/4 to 1/4, student 1/2 to 1/2, T = 1. KL = 3/4 ln 3 - ln 2.

    G: 10/16 - 1/2 = 1/8, squared 1/64. M: 9/16, 3/16 | 3/16, 1/16 less 1/4 each; the second class is the less probable,
    its column -1/16, -3/16, so the squares add to 10/256, over K = 2 classes 5/256.
    """
    teacher = torch.tensor([[math.log(3.0), 0.0]], dtype=torch.float64)

    found = value(MLLD(temperatures=[1.0]), Outputs(torch.zeros_like(teacher)), Outputs(teacher))

    assert found.item() == pytest.approx(0.75 * math.log(3) - math.log(2) + 1 / 64 + 5 / 256, rel=1e-12)


def test_mlld__equal_certainty_counts_everywhere() -> None:
    """A teacher that knows nothing: no half is less certain than the other."""
    student, flat = noise(6, 7, seed=0).requires_grad_(), torch.zeros(6, 7, dtype=torch.float64)

    (gradient,) = torch.autograd.grad(value(MLLD(), Outputs(student), Outputs(flat)), student)

    assert (gradient.abs().sum(1) > 1e-3).all()


def test_mlld__keeps_no_more_than_its_matrices() -> None:
    """What the graph of one view at one temperature keeps: one [B, B], one [K, K], and a few [B, K]."""
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes() // tensor.element_size()
        return tensor

    rows, classes = 40, 300
    student = torch.randn(rows, classes, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        value(MLLD(temperatures=[2.0]), Outputs(student), Outputs(torch.randn(rows, classes)))

    assert sum(kept.values()) < rows**2 + classes**2 + 8 * rows * classes
