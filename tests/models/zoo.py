"""What the tests of the networks for 32x32 images share: build one by its name in conf/model, and look at it."""

import torch
from torch import nn

from kd_lab import names
from kd_lab.measures.cost import macs
from tests.contracts.plugins import CONF, arguments, settings, target

COLOUR = (3, 32, 32)
CLASSES = 100


def network(name: str, shape: tuple[int, ...] = COLOUR, classes: int = CLASSES) -> nn.Module:
    """As `student=NAME` builds it."""
    content = settings("model", name)
    built = target(content)(classes, shape, **arguments("model", content))
    assert isinstance(built, nn.Module)
    return built


def cost(name: str) -> tuple[int, int]:
    """Parameters, as the YAML says them too, and multiply-accumulates of one image."""
    built = network(name)
    parameters = sum(p.numel() for p in built.parameters())
    said = (CONF / "model" / f"{name}.yaml").read_text(encoding="utf-8").splitlines()[0]
    assert said.endswith(f"; {parameters:,} parameters for 100 classes")
    return parameters, int(macs(built, torch.zeros(1, *COLOUR))[names.COST_MACS])


def check(name: str) -> None:
    """Everything is trained; another memory order gives the same answers; channels follow the data, sizes may vary."""
    torch.manual_seed(0)
    built = network(name, classes=7)
    inputs = torch.randn(4, *COLOUR)
    nn.functional.cross_entropy(built(inputs), torch.arange(4)).backward()
    assert all(p.grad is not None and p.grad.any() for p in built.parameters())
    found = built.eval()(inputs)
    assert found.shape == (4, 7)
    last = built.to(memory_format=torch.channels_last)
    torch.testing.assert_close(last(inputs.to(memory_format=torch.channels_last)), found, rtol=1e-4, atol=1e-4)
    for shape in ((1, 28, 28), (5, 8, 13), (3, 64, 64)):
        assert network(name, shape, classes=3).eval()(torch.zeros(1, *shape)).shape == (1, 3)


def weights(name: str) -> dict[str, tuple[int, ...]]:
    """The names of a state dict, with their shapes."""
    return {key: tuple(tensor.shape) for key, tensor in network(name).state_dict().items()}


def spread(built: nn.Module, path: str) -> float:
    """The standard deviation of a layer's weights, times the square root of fan_out / 2: 1 after He's start."""
    weight = built.get_parameter(f"{path}.weight").detach()
    return float(weight.std() * (weight.shape[0] * weight[0][0].numel() / 2) ** 0.5)
