import pytest
import torch
from torch import nn

from kd_lab.models.inception_time import InceptionTime


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("classes", [2, 24])
def test_inception_time__parameters_by_hand(classes: int) -> None:
    first = (40 + 20 + 10) * 32 + 32 + 2 * 128  # one channel: no bottleneck
    other = 128 * 32 + 70 * 32 * 32 + 128 * 32 + 2 * 128
    ways = (128 + 2 * 128) + (128 * 128 + 2 * 128)
    assert count(InceptionTime(classes, (1, 96))) == first + 5 * other + ways + 129 * classes
    assert first + 5 * other + ways == 420_192
    # LITE (Ismail-Fawaz et al. 2024, arXiv:2409.02869) has 9,814 parameters, published as 2.34 % of this network's.
    assert f"{9_814 / 420_192:.2%}" == "2.34%"


def test_inception_time__several_channels_are_narrowed_first() -> None:
    assert InceptionTime(2, (6, 20)).blocks[0].parts[0].bottleneck.weight.shape == (32, 6, 1)


def test_inception_time__a_way_leads_around_every_three_modules() -> None:
    blocks = InceptionTime(2, (1, 20), depth=5, width=2).blocks
    assert [len(block.parts) for block in blocks] == [3, 2]
    assert [block.around is not None for block in blocks] == [True, False]
    torch.manual_seed(0)
    block, x = blocks[0].eval(), torch.randn(2, 1, 20)
    torch.testing.assert_close(block(x), (block.parts(x) + block.around(x)).relu())


@pytest.mark.parametrize("shape", [(1, 1), (1, 3), (6, 100)])
def test_inception_time__takes_series_of_any_length(shape: tuple[int, int]) -> None:
    module = InceptionTime(5, shape, depth=3, width=2)
    assert module(torch.randn(3, *shape)).shape == (3, 5)
    assert module.eval()(torch.randn(3, shape[0], 40)).shape == (3, 5)


def test_inception_time__every_parameter_gets_a_gradient() -> None:
    module = InceptionTime(3, (2, 50), depth=4, width=2)
    nn.functional.cross_entropy(module(torch.randn(9, 2, 50)), torch.arange(9) % 3).backward()
    assert all(p.grad is not None for p in module.parameters())


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((8,), {}, r"of inception_time to be a series \[channels, time\], but got \(8,\)"),
        ((1, 8), {"depth": 0}, "`depth` to be at least 1, but got 0"),
        ((1, 8), {"width": 0}, "`width` to be at least 1, but got 0"),
        ((1, 8), {"kernel": 3}, "`kernel` to be at least 4, .*but got 3"),
    ],
)
def test_inception_time__says_what_is_wrong(shape, options, message) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        InceptionTime(10, shape, **options)
