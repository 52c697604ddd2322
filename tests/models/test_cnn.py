import pytest
import torch
from torch import nn

from kd_lab.models.cnn import CNN


def test_cnn__parameters_of_the_demos_teacher():
    assert sum(p.numel() for p in CNN(10, (1, 8, 8)).parameters()) == 151_498


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 28, 28), (2, 5, 9), (1, 2, 2)])
def test_cnn__takes_images_of_any_size(shape):
    assert CNN(7, shape, channels=[4], hidden=6)(torch.randn(2, *shape)).shape == (2, 7)


def test_cnn__arguments_are_used():
    module = CNN(10, (1, 8, 8), channels=[4, 6, 8], hidden=5, dropout=0.5)
    assert [m.out_channels for m in module.modules() if isinstance(m, nn.Conv2d)] == [4, 6, 8]
    assert [m.out_features for m in module.modules() if isinstance(m, nn.Linear)] == [5, 10]
    assert [m.p for m in module.modules() if isinstance(m, nn.Dropout)] == [0.5]


def test_cnn__order_of_layers_is_the_documented_one():
    kinds = [type(m).__name__ for m in CNN(10, (1, 8, 8)).modules() if not list(m.children())]
    block = ["Conv2d", "BatchNorm2d", "ReLU"]
    assert kinds == [*block, *block, "MaxPool2d", "Flatten", "Linear", "ReLU", "Dropout", "Linear"]


def test_cnn__every_parameter_gets_a_gradient():
    module = CNN(3, (1, 8, 8), channels=[4, 4], hidden=8)
    nn.functional.cross_entropy(module(torch.randn(16, 1, 8, 8)), torch.arange(16) % 3).backward()
    assert all(p.grad is not None for p in module.parameters())


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((64,), {}, r"of cnn to be an image \[channels, height, width\], but got \(64,\): .* choose mlp"),
        ((8, 8), {}, r"but got \(8, 8\): .*mlp, which takes every shape, or fcn for series \[channels, time\]\.$"),
        ((1, 1, 8), {}, r"at least 2 pixels high and wide, but got \(1, 1, 8\): .*mlp"),
        ((1, 8, 8), {"channels": []}, r"`channels` to name at least one convolution, but got \[\]"),
        ((1, 8, 8), {"channels": [4, 0]}, "`channels` to be at least 1, but got 0"),
        ((1, 8, 8), {"hidden": 0}, "`hidden` to be at least 1, but got 0"),
        ((1, 8, 8), {"dropout": 1.0}, r"`dropout` to be at least 0 and below 1, but got 1\.0"),
    ],
)
def test_cnn__says_what_is_wrong(shape, options, message):
    with pytest.raises(ValueError, match=message):
        CNN(10, shape, **options)


def test_cnn__memory_layout_changes_no_answer():
    torch.manual_seed(0)
    module, inputs = CNN(3, (2, 8, 8), channels=[4, 4], hidden=8).eval(), torch.randn(5, 2, 8, 8)
    found = module(inputs)
    torch.testing.assert_close(module.to(memory_format=torch.contiguous_format)(inputs), found)
