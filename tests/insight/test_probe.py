import pytest
import torch
from torch import Tensor, nn

from kd_lab.insight.probe import Probe
from kd_lab.models.cnn import CNN
from kd_lab.models.torchvision import Torchvision


class Mixed(nn.Module):
    """Sequences with channels first, then tokens with channels last; the sizes do not tell them apart."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(6, 6, 1)
        self.relu = nn.ReLU()
        self.linear = nn.Linear(6, 6)
        self.act = nn.GELU()
        self.head = nn.Linear(6, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        tokens = self.act(self.linear(self.relu(self.conv(inputs)).transpose(1, 2)))
        return self.head(tokens.mean(1))


def test_probe__leaves_modes_statistics_and_random_state_alone() -> None:
    network = Torchvision(10, (3, 32, 32)).train()
    network.network.layer1.eval()
    modes = [m.training for m in network.modules()]
    before = {k: v.clone() for k, v in network.state_dict().items()}
    example = torch.randn(2, 3, 32, 32)
    state = torch.get_rng_state()

    Probe.of(network, example)

    assert [m.training for m in network.modules()] == modes
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())


def test_probe__knows_where_the_channels_stand_also_when_the_sizes_do_not_tell() -> None:
    probe = Probe.of(Mixed(), torch.randn(2, 6, 6))

    assert {p: layer.tap.channels_last for p, layer in probe.layers.items() if len(layer.shape) == 2} == {
        "conv": False,
        "relu": False,
        "linear": True,
        "act": True,
    }


def test_probe__in_place_layers_are_seen_and_cloned() -> None:
    probe = Probe.of(Torchvision(10, (3, 32, 32)), torch.randn(2, 3, 32, 32))

    assert probe.layers["network.bn1"].tap.clone
    assert probe.inputs["network.layer1.0.relu"].tap.clone
    assert not probe.layers["network.layer1"].tap.clone


def test_probe__the_head_is_the_linear_layer_that_says_the_logits() -> None:
    probe = Probe.of(CNN(10, (1, 8, 8)), torch.randn(2, 1, 8, 8))

    assert probe.head == "classifier.3"
    assert isinstance(probe.head_module(), nn.Linear)


def test_probe__norm_before_a_tap_is_the_nearest_one_with_its_channels() -> None:
    network = Torchvision(10, (3, 32, 32))
    probe = Probe.of(network, torch.randn(2, 3, 32, 32))
    tap, shape = probe.before_activation(probe.layers["network.layer2"])

    assert probe.norm_before(tap, shape[0]) is network.network.layer2[1].bn2
    assert probe.norm_before(tap, 7) is None


@pytest.mark.slow
def test_probe__a_compiled_network_is_looked_at_behind_its_compiler() -> None:
    network = CNN(10, (1, 8, 8))

    example = torch.randn(2, 1, 8, 8)
    assert list(Probe.of(torch.compile(network), example).layers) == list(Probe.of(network, example).layers)
