"""A network in int8: the grids and their gradients in closed form, whole networks as NumPy rounds them."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from kd_lab.insight.int8 import (
    InInt8,
    Int8,
    keep_ranges,
    kept_ranges,
    layers,
    rounded_activation,
    rounded_weight,
    weight_scale,
)
from kd_lab.models.common.weights import weights_sha256
from tests.training.toys import FEATURES, Noisy, Plain

Array = NDArray[np.float64]


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def weight_reference(weight: Array) -> Array:
    """Each channel, the first dimension, to the nearest of 255 values between minus and plus its largest."""
    flat = weight.reshape(len(weight), -1)
    step = np.abs(flat).max(axis=1, keepdims=True) / 127
    return (np.round(flat / step) * step).reshape(weight.shape)


def activation_reference(given: Array, low: float, high: float) -> Array:
    """To the nearest of 256 values of which one is 0, the ends moved so that it is."""
    low, high = min(low, 0.0), max(high, 0.0)
    step = (high - low) / 255
    zero = np.round(-128 - low / step)
    return (np.clip(np.round(given / step) + zero, -128, 127) - zero) * step


@pytest.mark.parametrize("shape", [(5, 7), (4, 3, 3), (4, 3, 3, 3), (2, 3, 2, 2, 2)])
def test_weight__as_numpy_rounds_it__half_a_step_at_most(shape: tuple[int, ...]) -> None:
    weight = draw(*shape) * (10.0 ** torch.arange(shape[0])).reshape(-1, *[1] * (len(shape) - 1))
    found = rounded_weight(weight)
    np.testing.assert_allclose(found.numpy(), weight_reference(weight.double().numpy()), rtol=1e-5)
    error_C = (found - weight).abs().flatten(1).amax(dim=1)
    assert bool((error_C <= 0.5001 * weight_scale(weight)).all())
    assert bool((error_C > 0).all())


def test_weight__on_its_grid__stays_as_it_is() -> None:
    steps = torch.tensor([[0.5], [2.0], [0.0]])
    weight = torch.tensor([[127.0, -3.0, 0.0], [-127.0, 126.0, 1.0], [0.0, 0.0, 0.0]]) * steps
    assert torch.equal(rounded_weight(weight), weight)
    assert torch.equal(rounded_weight(rounded_weight(draw(4, 9))), rounded_weight(draw(4, 9)))


def test_weight__gradient__goes_straight_through() -> None:
    weight, factor = draw(4, 9).requires_grad_(), draw(4, 9, seed=1)
    (rounded_weight(weight) * factor).sum().backward()
    assert torch.equal(weight.grad, factor)  # type: ignore[arg-type]


def test_weight__channels_multiplied__as_a_batchnorm_that_is_folded_does() -> None:
    weight, factor = draw(4, 3, 3, 3), torch.tensor([2.0, -1.0, -0.25, 8.0]).reshape(4, 1, 1, 1)
    assert torch.equal(rounded_weight(weight * factor), rounded_weight(weight) * factor)


@pytest.mark.parametrize(("low", "high"), [(-1.0, 2.0), (0.0, 4.0), (0.5, 3.0), (-3.0, -1.0)])
def test_activation__as_numpy_rounds_it__0_stays_0(low: float, high: float) -> None:
    given, ends = 3 * draw(40, 5), torch.tensor([low, high])
    given[0] = 0.0
    found = rounded_activation(given, ends)
    np.testing.assert_allclose(
        found.numpy(), activation_reference(given.double().numpy(), low, high), rtol=1e-4, atol=1e-6
    )
    assert bool((found[0] == 0).all())


def test_activation__gradient__1_inside_the_range_and_0_beyond_it() -> None:
    given = torch.tensor([-1.5, -1.1, -0.9, 0.0, 1.9, 2.1, 5.0], requires_grad=True)
    rounded_activation(given, torch.tensor([-1.0, 2.0])).sum().backward()
    assert given.grad.tolist() == [0, 0, 1, 1, 1, 0, 0]  # type: ignore[union-attr]


def test_activation__bfloat16__keeps_its_type() -> None:
    found = rounded_activation(torch.ones(3, dtype=torch.bfloat16), torch.tensor([0.0, 2.0]))
    assert found.dtype is torch.bfloat16


def of_plain(network: nn.Module, inputs: Tensor, ends: Array) -> Array:
    """What a `Plain` says, reckoned by NumPy."""
    first, _, second = (dict(one.named_parameters()) for one in network.layers)  # type: ignore[union-attr, operator]
    x = inputs.double().numpy()
    for number, layer in enumerate((first, second)):
        w, b = (layer[name].detach().double().numpy() for name in ("weight", "bias"))
        x = activation_reference(np.tanh(x) if number else x, *ends[number]) @ weight_reference(w).T + b
    return x


def test_said__a_whole_network__as_numpy_reckons_it() -> None:
    network, inputs = Plain(1), draw(20, FEATURES)
    before = weights_sha256(network)
    ranges = torch.tensor([[-2.0, 2.0], [-1.0, 0.9]])
    logits = InInt8(network, ranges)(inputs)
    np.testing.assert_allclose(logits.detach().numpy(), of_plain(network, inputs, ranges.numpy()), atol=1e-4)
    assert not torch.equal(logits, network(inputs))
    logits.sum().backward()
    assert all(p.grad is not None for p in network.parameters())
    assert weights_sha256(network) == before


def test_said__ranges__begin_with_the_first_batch_follow_and_stay() -> None:
    int8, ranges = Int8(Plain(1)), Int8(Plain(1)).unknown()
    one, other = draw(20, FEATURES), 2 * draw(20, FEATURES, seed=1)
    int8.said(one, ranges, 0.25)
    assert ranges[0].tolist() == [float(one.min()), float(one.max())]
    int8.said(other, ranges, 0.25)
    expected = [
        0.75 * float(one.min()) + 0.25 * float(other.min()),
        0.75 * float(one.max()) + 0.25 * float(other.max()),
    ]
    assert ranges[0].tolist() == pytest.approx(expected)
    kept = ranges.clone()
    int8.said(one, ranges)
    assert torch.equal(ranges, kept)


def test_said__buffers_and_hooks__statistics_follow_and_no_hook_is_left() -> None:
    network = Noisy().train()
    int8 = Int8(network)
    int8.said(5 + draw(20, FEATURES), int8.unknown(), 0.1)
    assert int(network.body[1].num_batches_tracked) == 1  # type: ignore[arg-type]
    assert bool((network.body[1].running_mean != 0).any())  # type: ignore[operator]
    assert not any(module._forward_pre_hooks for module in network.modules())


def test_calibrated__the_least_and_the_largest_of_all_batches() -> None:
    network, inputs = Plain(1), draw(30, FEATURES)
    ranges = Int8(network).calibrated([inputs[:10], inputs[10:]])
    hidden = network.layers[1](network.layers[0](inputs)).detach()
    for given, ends in zip((inputs, hidden), ranges, strict=True):
        assert ends.tolist() == pytest.approx([float(given.min()), float(given.max())])


class Odd(nn.Module):
    """A weight that two layers share, a layer that nobody calls, an embedding, and inputs with a name."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(5, 4)
        self.first, self.second, self.idle = (nn.Linear(4, 4) for _ in range(3))
        self.second.weight = self.first.weight

    def forward(self, input_ids: Tensor) -> Tensor:
        return self.second(self.first(self.table(input_ids).mean(dim=1)).relu())


def test_layers__shared_once__and_one_that_is_not_called_has_no_range() -> None:
    network, inputs = Odd(), {"input_ids": torch.arange(10).reshape(2, 5) % 5}
    int8 = Int8(network)
    assert list(int8.layers) == ["first", "idle"]
    ranges = int8.calibrated([inputs])
    assert ranges[1].isnan().all()
    named = int8.named(ranges)
    assert list(named) == ["first"]
    assert torch.equal(int8.of_named(named).nan_to_num(-1), ranges.nan_to_num(-1))
    rounded = rounded_weight(network.first.weight)
    given = rounded_activation(network.table(inputs["input_ids"]).mean(dim=1), ranges[0])
    hidden = (given @ rounded.T + network.first.bias).relu()
    torch.testing.assert_close(int8.said(inputs, ranges), hidden @ rounded.T + network.second.bias)


def test_layers__recurrent_or_without_weights__none() -> None:
    assert layers(nn.Sequential(nn.Flatten(), nn.GRU(3, 4))) == {}


def test_keep_ranges__in_no_state_dict_and_with_every_copy() -> None:
    import copy

    network = Plain(1)
    before = weights_sha256(network)
    assert kept_ranges(network) is None
    keep_ranges(network, torch.tensor([[-1.0, 1.0], [0.0, 2.0]]))
    assert weights_sha256(network) == before
    assert kept_ranges(copy.deepcopy(network)).tolist() == [[-1, 1], [0, 2]]  # type: ignore[union-attr]
