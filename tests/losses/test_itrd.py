import math

import pytest
import torch
from torch import Tensor

from kd_lab.losses.itrd import ITRD
from tests.contracts.loss_cases import VECTOR
from tests.losses.of_layers import said, shapes

SHAPES = [VECTOR, (((6,),), ((6,),)), (((3, 2, 2),), ((7,),)), (((5, 3),), ((2, 4, 3),))]
SETTINGS = [{"lambda_corr": 0.0}, {"lambda_mutual": 0.0}, {"alpha_it": 1.5}]
REFUSED = [
    ({"lambda_corr": -1}, r"Expected `lambda_corr` to be a finite number >= 0, but got -1\.0\."),
    ({"lambda_mutual": -1}, r"Expected `lambda_mutual` to be a finite number >= 0, but got -1\.0\."),
    ({"alpha_it": 0}, r"Expected `alpha_it` to be > 0, but got 0\.0\."),
    ({"shapes": (((4,), (4,)), ((4,), (4,)))}, "Expected one layer of each network, but got 2"),
]


def value(own: Tensor, theirs: Tensor, *, corr: float, mutual: float, alpha: float = 1.01) -> Tensor:
    """The linear layer says what it is given."""
    weights = {"lambda_corr": corr, "lambda_mutual": mutual, "alpha_it": alpha}
    loss = ITRD(student_shapes=shapes(own), teacher_shapes=shapes(theirs), **weights).double()
    with torch.no_grad():
        loss.embed.weight.copy_(torch.eye(*loss.embed.weight.shape))
        loss.embed.bias.zero_()
    return said(loss, (own,), (theirs,))


def test_itrd__correlations_by_hand() -> None:
    """Four samples. The first feature rises with the teacher's, correlation 1 times 3/4 (n - 1 over n); the second is
    its opposite, -3/4; the third has nothing to do with it, 0. So |c - 1| is 1/4, 7/4 and 1."""
    theirs = torch.tensor([[1.0, 1, 1], [2, 2, -1], [3, 3, -1], [4, 4, 1]], dtype=torch.float64)
    own = torch.stack([5 * theirs[:, 0] + 3, -theirs[:, 1], torch.tensor([1.0, 1, -1, -1])], dim=1)

    found = value(own, theirs, corr=1, mutual=0, alpha=1.5)

    assert found.item() == pytest.approx(math.log2(0.25**3 + 1.75**3 + 1), rel=1e-9)


def test_itrd__information_by_hand() -> None:
    """Student: two samples alike, cosines all 1, divided by the trace 2: squares 4 / 4. Teacher: at a right angle, so
    the product is the identity, divided by 2: squares 2 / 4."""
    own = torch.tensor([[3.0, 0], [1, 0]], dtype=torch.float64)
    theirs = torch.tensor([[1.0, 0], [0, 2]], dtype=torch.float64)

    assert value(own, theirs, corr=0, mutual=1).item() == pytest.approx(1 - 0.5, rel=1e-12)


def test_itrd__constant_features_have_correlation_0() -> None:
    """All correlations 0: log2 of the number of features, here 2."""
    own = torch.full((4, 2), 0.3, dtype=torch.float64, requires_grad=True)
    theirs = torch.randn(4, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    result = value(own, theirs, corr=1, mutual=1)
    result.backward()

    assert value(own, theirs, corr=1, mutual=0).item() == pytest.approx(1.0, rel=1e-6)
    assert own.grad is not None
    assert own.grad.isfinite().all()
