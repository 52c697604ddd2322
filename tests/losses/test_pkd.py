import pytest
import torch

from kd_lab.losses.pkd import PKD
from tests.losses.of_layers import value

SHAPES = [
    (((4, 8, 8), (6, 4, 4), (8, 2, 2)), ((4, 6, 6), (6, 4, 4), (8, 3, 2))),  # larger, the same, smaller on one axis
    (((3, 5, 7),), ((3, 5, 7),)),
    (((3, 9),), ((3, 9),)),  # sequences
    (((3, 1, 1),), ((3, 1, 1),)),  # one position: the deviation is over the batch alone
]
REFUSED = [
    (
        {"shapes": (((8, 2, 2), (4, 2, 2)), ((8, 2, 2), (8, 2, 2)))},
        r"as many channels in both layers .*\[4, 2, 2\] and \[8, 2, 2\]",
    ),
    ({"shapes": (((4,),), ((4,),))}, "Expected both layers of a pair to be maps"),
]


def test_pkd__is_one_minus_the_correlation_of_each_channel() -> None:
    """1/2 mean (z_s - z_t)^2 = (n - 1) / n - (n - 1) / n r with the deviation over n - 1, so (1 - r) (n - 1) / n."""
    generator = torch.Generator().manual_seed(0)
    own, theirs = (torch.randn(4, 3, 2, 2, dtype=torch.float64, generator=generator) for _ in range(2))
    n = 4 * 2 * 2
    correlations = [
        torch.corrcoef(torch.stack([own[:, c].flatten(), theirs[:, c].flatten()]))[0, 1].item() for c in range(3)
    ]

    expected = sum(1 - r for r in correlations) / 3 * (n - 1) / n
    assert value(PKD, own, theirs).item() == pytest.approx(expected, rel=1e-5)  # the epsilon is 1e-6 of a deviation


@pytest.mark.parametrize("shape", [(1, 3, 1, 1), (5, 3, 2, 2)], ids=["one value", "constant"])
def test_pkd__a_channel_without_deviation_has_a_finite_gradient(shape: tuple[int, ...]) -> None:
    own = torch.full(shape, 0.3, requires_grad=True)

    result = value(PKD, own, torch.ones(shape))
    result.backward()

    assert result.item() == pytest.approx(0, abs=1e-3)
    assert own.grad is not None
    assert own.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_pkd__a_constant_channel_of_the_student_is_led_towards_the_teachers_pattern(dtype: torch.dtype) -> None:
    """With z = f - mean the loss is 1/2 mean (z_s - z_t)^2 / C, so its slope is -z_t / (n C), not 0 nor 1e6 of it."""
    theirs = torch.randn(4, 3, 2, 2, dtype=dtype, generator=torch.Generator().manual_seed(0))
    own = torch.randn(4, 3, 2, 2, dtype=dtype, generator=torch.Generator().manual_seed(1))
    own[:, 1] = 0.3
    own.requires_grad_()

    (gradient,) = torch.autograd.grad(value(PKD, own, theirs), own)

    channel = theirs[:, 1]
    z_t = (channel - channel.mean()) / (channel.std() + 1e-6)
    torch.testing.assert_close(gradient[:, 1], -z_t / (16 * 3), rtol=1e-4, atol=1e-6)


def test_pkd__a_constant_channel_of_the_teacher_teaches_nothing() -> None:
    theirs, own = torch.ones(4, 3, 2, 2), torch.randn(4, 3, 2, 2, requires_grad=True)

    (gradient,) = torch.autograd.grad(value(PKD, own, theirs), own)

    assert gradient.abs().max() < 1e-6
