import pytest
import torch
from torch import nn

from kd_lab.models.mlp import MLP


def _parameters(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("shape", "widths", "expected"),
    [((1, 8, 8), [32], 2410), ((64,), [16], 1210), ((1, 28, 28), [128, 128], 784 * 128 + 128 + 128 * 129 + 1290)],
)
def test_mlp__parameters_of_the_documented_networks(shape, widths, expected):
    assert _parameters(MLP(10, shape, widths=widths)) == expected


def test_mlp__default_is_the_demos_student():
    assert _parameters(MLP(num_classes=10, input_shape=(1, 8, 8))) == 2410


def test_mlp__computes_linear_relu_linear():
    module, inputs = MLP(3, (2, 4), widths=[5]), torch.randn(6, 2, 4)
    first, second = (m for m in module.modules() if isinstance(m, nn.Linear))
    hidden = (inputs.reshape(6, 8) @ first.weight.T + first.bias).clamp(min=0)
    torch.testing.assert_close(module(inputs), hidden @ second.weight.T + second.bias)


def test_mlp__no_hidden_layer_is_linear():
    module, a, b = MLP(3, (4,), widths=[]), torch.randn(2, 4), torch.randn(2, 4)
    torch.testing.assert_close(module(a) + module(b), module(a + b) + module(torch.zeros(1, 4)))


def test_mlp__every_parameter_gets_a_gradient():
    module = MLP(3, (4,), widths=[8, 8])
    module(torch.randn(32, 4)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in module.parameters())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_classes": 1, "input_shape": (4,)}, "`num_classes` to be at least 2, but got 1"),
        ({"num_classes": 3, "input_shape": ()}, r"`input_shape` to hold sizes of at least 1, but got \(\)"),
        ({"num_classes": 3, "input_shape": (4, 0)}, r"but got \(4, 0\)"),
        ({"num_classes": 3, "input_shape": (4,), "widths": [8, 0]}, "`widths` to be at least 1, but got 0"),
    ],
)
def test_mlp__says_what_is_wrong(arguments, message):
    with pytest.raises(ValueError, match=message):
        MLP(**arguments)
