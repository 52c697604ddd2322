"""Tails: they answer as the whole network does, with weights of their own, and say where they cannot."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kd_lab.inputs import Inputs, call
from kd_lab.insight.probe import SAMPLES, Layer, Probe
from kd_lab.insight.stages import inner_ends
from kd_lab.insight.tails import Tail, heard_as_said
from kd_lab.insight.taps import Taps
from kd_lab.models.cnn import CNN
from kd_lab.models.mlp import MLP
from kd_lab.models.resnet import ResNet
from kd_lab.models.text_cnn import TextCNN

PICTURES = torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(1))


class Around(nn.Module):
    """What the layer before `first` says goes around it too."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.first = nn.Linear(64, 64), nn.Linear(64, 64)
        self.second, self.head = nn.Linear(64, 8), nn.Linear(8, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        early = self.before(inputs.flatten(1))
        return self.head(self.second(self.first(early).relu() + early).relu())


class Nested(nn.Module):
    """A layer that says a pair."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.middle, self.head = nn.GRU(8, 16, batch_first=True), nn.Linear(16, 8), nn.Linear(8, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        said, _ = self.rnn(inputs.squeeze(1))
        return self.head(self.middle(said.mean(1)).relu())


class Placed(nn.Module):
    """A parameter of its own before the cut, and an activation that writes into what the cut says."""

    def __init__(self) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.randn(64))
        self.first, self.relu, self.second, self.head = (
            nn.Linear(64, 64),
            nn.ReLU(True),
            nn.Linear(64, 8),
            nn.Linear(8, 3),
        )

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.second(self.relu(self.first(inputs.flatten(1) + self.place))))


def cut(network: nn.Module, inputs: Inputs, end: Layer | None = None) -> tuple[Tail, Tensor, Tensor]:
    """The tail behind the last inner stage, what it is given, and what the whole network says."""
    example = inputs[:SAMPLES] if isinstance(inputs, Tensor) else {k: v[:SAMPLES] for k, v in inputs.items()}
    probe = Probe.of(network, example)
    end = end or inner_ends(probe)[-1]
    tail = Tail(probe, end, example)
    taps = Taps(network, [heard_as_said(end)]).attach()
    said = call(network, inputs)
    (heard,) = taps.take()
    taps.remove()
    return tail, heard, said


NETWORKS = {
    "mlp": lambda: MLP(10, (1, 8, 8), widths=[32, 16]),
    "cnn": lambda: CNN(10, (1, 8, 8), channels=[8, 16], hidden=32),
    "resnet": lambda: ResNet(10, (1, 8, 8), depth=8, channels=[4, 4, 8, 16]),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_tail__answers_as_the_whole_network(name: str) -> None:
    network = NETWORKS[name]().eval()
    tail, heard, expected = cut(network, PICTURES)
    torch.testing.assert_close(tail(PICTURES, heard), expected, rtol=1e-5, atol=1e-6)
    assert sum(p.numel() for p in tail.parameters()) < sum(p.numel() for p in network.parameters())
    assert not {id(p) for p in tail.parameters()} & {id(p) for p in network.parameters()}


def test_tail__of_texts_of_which_all_are_short() -> None:
    """The network leaves padding out where nobody listens; the tail is given all of it."""
    ids = torch.randint(1, 20, (4, 12), generator=torch.Generator().manual_seed(0))
    mask = torch.ones(4, 12, dtype=torch.int64)
    ids[1:, 6:], mask[1:, 6:] = 0, 0
    shape = {"input_ids": (12,), "attention_mask": (12,)}
    network = TextCNN(3, shape, vocab_size=20).eval()
    whole = {"input_ids": ids, "attention_mask": mask}
    probe = Probe.of(network, {name: one[:2] for name, one in whole.items()})
    end = next(layer for layer in probe.layers.values() if layer.weighty)
    short = {name: one[1:] for name, one in whole.items()}
    tail, heard, expected = cut(network, short, end)
    torch.testing.assert_close(tail(short, heard), expected, rtol=1e-5, atol=1e-6)


def test_tail__what_follows_may_write_into_what_it_is_given() -> None:
    torch.manual_seed(0)
    network = Placed().eval()
    probe = Probe.of(network, PICTURES[:2])
    tail, heard, expected = cut(network, PICTURES, probe.layers["first"])
    before = heard.detach().clone()
    torch.testing.assert_close(tail(PICTURES, heard), expected)
    assert torch.equal(heard, before)
    assert not torch.equal(before, before.relu())


def test_tail__parameters_that_its_logits_do_not_follow_from_are_frozen() -> None:
    tail, _, _ = cut(network := Placed(), PICTURES, Probe.of(network, PICTURES[:2]).layers["first"])
    assert {name for name, p in tail.network.named_parameters() if not p.requires_grad} == {"place"}


def test_tail__leaves_the_network_as_it_was() -> None:
    network = NETWORKS["cnn"]()
    network.features[1].eval()
    modes = [module.training for module in network.modules()]
    state = {name: value.clone() for name, value in network.state_dict().items()}
    tail = cut(network, PICTURES[:2])[0]
    assert [module.training for module in network.modules()] == modes
    assert tail.network.classifier.training
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())
    tail.draw(0)
    weights: Any = dict(network.named_parameters())
    assert all(torch.equal(value, state[name]) for name, value in weights.items())


def test_draw__is_the_same_numbers_in_an_order_of_its_seed() -> None:
    network, tails = NETWORKS["mlp"](), []
    for seed in (3, 3, 4):
        tails.append(cut(network, PICTURES)[0])
        tails[-1].draw(seed)
    one, same, other = ([*tail.parameters()] for tail in tails)
    own = [*network.parameters()][2:]
    assert all(torch.equal(a, b) for a, b in zip(one, same, strict=True))
    for first, second, kept in zip(one, other, own, strict=True):
        assert not torch.equal(first, second)
        assert not torch.equal(first, kept)
        assert torch.equal(first.flatten().sort().values, kept.flatten().sort().values)


@pytest.mark.parametrize(("network", "path"), [(Around(), "first"), (Nested(), "rnn")], ids=["around", "nested"])
def test_tail__what_needs_more_than_the_layer_says_is_refused(network: nn.Module, path: str) -> None:
    probe = Probe.of(network, PICTURES[:2])
    with pytest.raises(ValueError, match=rf"^what follows the layer {path} needs more than what that says; expected"):
        Tail(probe, probe.layers[path], PICTURES[:2])
