import numpy as np
import pytest
import torch
from torch import nn

from kd_lab import names
from kd_lab.measures.cost import macs
from kd_lab.models.fcn import FCN


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("classes", [2, 24])
def test_fcn__parameters_by_hand(classes: int) -> None:
    convolutions = (8 * 128 + 128) + (5 * 128 * 256 + 256) + (3 * 256 * 128 + 128)
    norms = 2 * (128 + 256 + 128)
    assert count(FCN(classes, (1, 96))) == convolutions + norms + 129 * classes == 264_704 + 129 * classes


def test_fcn__the_student_of_kd_4_tsc() -> None:
    module = FCN(7, (1, 96), widths=[20, 40, 20])
    assert count(module) == (8 * 20 + 20) + (5 * 20 * 40 + 40) + (3 * 40 * 20 + 20) + 160 + 21 * 7
    assert macs(module, torch.zeros(1, 1, 96))[names.COST_MACS] == 96 * (8 * 20 + 5 * 20 * 40 + 3 * 40 * 20) + 140


def test_fcn__is_what_the_paper_says() -> None:
    torch.manual_seed(0)
    module, x = FCN(3, (2, 9), widths=[4], kernels=[8]).eval(), np.random.default_rng(0).normal(size=(2, 9))
    conv, head = module.blocks[0].conv, module.classifier
    weight, bias = conv.weight.detach().numpy(), conv.bias.detach().numpy()
    around = np.pad(x, ((0, 0), (3, 4)))  # as Keras pads a kernel of 8
    maps = np.array([[(weight[o] * around[:, t : t + 8]).sum() + bias[o] for t in range(9)] for o in range(4)])
    pooled = np.maximum(maps / np.sqrt(1 + 1e-5), 0).mean(1)
    expected = head.weight.detach().numpy() @ pooled + head.bias.detach().numpy()
    found = module(torch.tensor(x[None], dtype=torch.float32))[0].detach().numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 1), (1, 3), (6, 100)])
def test_fcn__takes_series_of_any_length(shape: tuple[int, int]) -> None:
    module = FCN(5, shape, widths=[4, 6], kernels=[8, 3])
    assert module(torch.randn(3, *shape)).shape == (3, 5)
    assert module.eval()(torch.randn(3, shape[0], 40)).shape == (3, 5)


def test_fcn__every_parameter_gets_a_gradient() -> None:
    module = FCN(3, (2, 12), widths=[4, 4, 4])
    nn.functional.cross_entropy(module(torch.randn(9, 2, 12)), torch.arange(9) % 3).backward()
    assert all(p.grad is not None for p in module.parameters())


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((1, 8, 8), {}, r"of fcn to be a series \[channels, time\], but got \(1, 8, 8\): .* choose mlp"),
        ((1, 8), {"widths": [4]}, r"as many `widths` as `kernels`, at least one, but got \[4\] and \[8, 5, 3\]"),
        ((1, 8), {"widths": [], "kernels": []}, "at least one, but got"),
        ((1, 8), {"widths": [4, 0, 4]}, "`widths` to be at least 1, but got 0"),
        ((1, 8), {"kernels": [4, 0, 4]}, "`kernels` to be at least 1, but got 0"),
    ],
)
def test_fcn__says_what_is_wrong(shape, options, message) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        FCN(10, shape, **options)
