import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kd_lab.insight.taps import Tap, Taps, first_tensor
from kd_lab.teachers.frozen import FrozenTeacher
from kd_lab.types import Batch


class Net(nn.Module):
    """Two convolutions whose second activation writes into its input, then tokens, then a classifier."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(1, 3, 3, padding=1)
        self.second = nn.Conv2d(3, 4, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.tokens = nn.Linear(4, 5)
        self.head = nn.Linear(5, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        mapped = self.relu(self.second(self.relu(self.first(inputs))))
        tokens = self.tokens(mapped.flatten(2).transpose(1, 2))
        return self.head(tokens.mean(1))


def inputs(rows: int = 2) -> Tensor:
    return torch.randn(rows, 1, 4, 4, generator=torch.Generator().manual_seed(1))


def hooks(network: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in network.modules())


def test_taps__hear_layers_in_their_order_and_leave_no_hook() -> None:
    network, x = Net(), inputs()
    taps = Taps(network, [Tap("head", at_input=True), Tap("tokens", channels_last=True)]).attach()

    logits = network(x)
    read, tokens = taps.take()
    taps.remove()

    assert hooks(network) == 0
    assert tokens.shape == (2, 5, 16)
    torch.testing.assert_close(read, tokens.mean(2))
    torch.testing.assert_close(network.head(read), logits)


def test_taps__carry_the_gradient() -> None:
    network = Net()
    taps = Taps(network, [Tap("second", clone=True)]).attach()
    network(inputs())

    taps.take()[0].sum().backward()

    assert network.second.weight.grad is not None
    assert network.first.weight.grad is not None
    assert network.tokens.weight.grad is None


def test_taps__what_an_in_place_layer_writes_over_is_kept_by_a_clone() -> None:
    network, x = Net(), inputs()
    before = network.second(torch.relu(network.first(x)))
    taps = Taps(network, [Tap("second", clone=True), Tap("second"), Tap("relu", at_input=True, clone=True)]).attach()
    network(x)

    cloned, written_over, into_the_last_call = taps.take()

    torch.testing.assert_close(cloned, before)
    torch.testing.assert_close(into_the_last_call, before)
    torch.testing.assert_close(written_over, before.relu())


def test_taps__tokens_are_read_as_a_map_without_their_prefix() -> None:
    tokens = torch.arange(2 * 10 * 3).reshape(2, 10, 3).float()

    read = Tap("x", channels_last=True, prefix=1, grid=(3, 3)).read(tokens)

    assert read.shape == (2, 3, 3, 3)
    assert torch.equal(read[1, :, 2, 0], tokens[1, 1 + 6])


def test_taps__channels_last_maps_come_channels_first() -> None:
    assert Tap("x", channels_last=True).read(torch.zeros(2, 5, 6, 3)).shape == (2, 3, 5, 6)
    assert Tap("x", channels_last=True).read(torch.zeros(2, 3)).shape == (2, 3)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda n: pickle.loads(pickle.dumps(n))], ids=["deepcopy", "pickle"])
def test_taps__a_copy_of_the_network_is_independent(copied: Any) -> None:
    network, x = Net(), inputs()
    taps = Taps(network, [Tap("second", clone=True)]).attach()
    network(x)  # and not taken yet: what was heard has a graph, which cannot be copied

    twin = copied(network)
    twin(x + 1)
    (heard,) = taps.take()

    torch.testing.assert_close(heard, network.second(torch.relu(network.first(x))))


def test_taps__a_copy_of_their_owner_hears_its_own_network() -> None:
    owner = nn.ModuleDict({"network": Net()})
    owner.taps = Taps(owner["network"], [Tap("second", clone=True)]).attach()  # type: ignore[assignment]
    twin = copy.deepcopy(owner)
    with torch.no_grad():
        twin["network"].second.weight.zero_()
        twin["network"].second.bias.fill_(3.0)

    twin["network"](inputs())

    assert torch.equal(twin.taps.take()[0], torch.full((2, 4, 4, 4), 3.0))


def test_taps__under_autocast_hear_bfloat16() -> None:
    network = Net()
    taps = Taps(network, [Tap("second", clone=True)]).attach()

    with torch.autocast("cpu", dtype=torch.bfloat16):
        network(inputs())

    assert taps.take()[0].dtype == torch.bfloat16


@pytest.mark.slow
@pytest.mark.parametrize("used_before", [False, True])
def test_taps__hear_a_compiled_network_as_the_plain_one(used_before: bool) -> None:
    torch._dynamo.reset()
    network, x = Net(), inputs()
    plain = Taps(network, [Tap("second", clone=True), Tap("head", at_input=True)]).attach()
    network(x)
    expected = plain.take()
    plain.remove()
    compiled = torch.compile(network, backend="eager")
    if used_before:  # code without hooks is there already
        compiled(x)

    taps = Taps(compiled, plain.taps).attach()
    for _ in range(2):
        compiled(x)
        for heard, wanted in zip(taps.take(), expected, strict=True):
            torch.testing.assert_close(heard, wanted)
    taps.remove()

    assert hooks(network) == 0


def test_taps__a_layer_that_is_not_called_is_named() -> None:
    taps = Taps(Net(), [Tap("head", at_input=True)]).attach()

    with pytest.raises(RuntimeError, match="Expected the layer head:input to be called in every forward pass"):
        taps.take()


def test_first_tensor__is_found_in_what_networks_return() -> None:
    a, b = torch.zeros(1), torch.ones(1)

    assert first_tensor((None, [a, b])) is a
    assert first_tensor({"last_hidden_state": b, "pooled": a}) is b
    assert first_tensor("text") is None


def test_frozen_teacher__gives_its_layers_without_a_graph_and_a_second_view() -> None:
    teacher = FrozenTeacher(Net(), [Tap("second", clone=True)])
    x = inputs()

    answer = teacher.attach("cpu")(Batch(x, torch.zeros(len(x)), torch.arange(len(x)), (x + 1,)))
    teacher.release()

    assert not answer.features[0].requires_grad
    torch.testing.assert_close(answer.features[0], teacher.module.second(torch.relu(teacher.module.first(x))))
    torch.testing.assert_close(answer.views[0], teacher.module(x + 1))
    assert hooks(teacher.module) == 0
