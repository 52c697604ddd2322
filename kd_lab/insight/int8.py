"""A network as int8 computes it, in float arithmetic: what its linear layers and convolutions hold and are given is
rounded to 8 bits.

Source: Jacob et al. 2018 (arXiv:1712.05877), section 3: weights and activations on grids of 256 values, the gradient
straight through the rounding (Bengio et al. 2013, arXiv:1308.3432) and zero beyond the ends of a grid.
Differs: weights have a grid for each output channel, symmetric from -127 to 127, as onnxruntime quantizes them; so a
BatchNorm that is folded into them later, which multiplies whole channels, changes no rounding. Sums, biases and all
other layers stay in float32.

Legend: C output channels, L layers.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from kd_lab.inputs import Inputs, call

LARGEST = 127
"""Of a weight, and minus it the smallest."""
LOWEST, HIGHEST = -128, 127
"""Of an activation."""
TINY = torch.finfo(torch.float32).tiny
"""The least step of a grid: that of a channel of zeros."""
RANGES = "activation_ranges"
"""The name of the buffer, in no state dict, that a network keeps its learned ranges in."""


Layer = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d


def layers(network: nn.Module) -> dict[str, Layer]:
    """Those that int8 makes cheaper, by path; of several that share their weight the first."""
    held = {id(p) for p in network.parameters()}
    found: dict[int, tuple[str, Layer]] = {}
    for path, module in network.named_modules():
        if isinstance(module, Layer) and id(module.weight) in held:
            found.setdefault(id(module.weight), (path, module))
    return dict(found.values())


def weight_scale(weight: Tensor) -> Tensor:
    """The step of each channel's grid [C], of a weight [C, ...]."""
    return (weight.detach().float().flatten(1).abs().amax(dim=1) / LARGEST).clamp(min=TINY)


def rounded_weight(weight: Tensor) -> Tensor:
    """A weight [C, ...] on the grids of its channels; the gradient is that of the weight itself."""
    scale_C = weight_scale(weight)
    zero_C = torch.zeros_like(scale_C, dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(weight, scale_C, zero_C, 0, -LARGEST, LARGEST)


def activation_grid(ends: Tensor) -> tuple[Tensor, Tensor]:
    """The step of a grid, float32, and the number that stands for 0, int32; both scalars.

    Args:
        ends: the least and the largest value [2]; the grid holds 0 exactly, so it reaches to 0 at least.
    """
    low, high = ends[0].clamp(max=0), ends[1].clamp(min=0)
    scale = ((high - low) / (HIGHEST - LOWEST)).clamp(min=TINY)
    return scale, (LOWEST - low / scale).round().clamp(LOWEST, HIGHEST).to(torch.int32)


def rounded_activation(activation: Tensor, ends: Tensor) -> Tensor:
    """An activation of any shape on the grid between `ends` [2]; no gradient passes where it lies beyond them."""
    scale, zero = activation_grid(ends)
    rounded = torch.fake_quantize_per_tensor_affine(activation.float(), scale, zero, LOWEST, HIGHEST)
    return rounded.to(activation.dtype)


class Int8:
    """What a network says in int8: asked through its own modules, whose parameters keep their names and values.

    A layer that is never called by itself, as within torch's attention, has its weight rounded alone.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network, self.layers = network, layers(network)

    def unknown(self) -> Tensor:
        """Ranges [L, 2] before anything was seen: NaN."""
        return torch.full((len(self.layers), 2), torch.nan)

    def said(self, inputs: Inputs, ranges: Tensor, rate: float | None = None) -> Any:
        """What the network says, its weights and the inputs of its layers rounded.

        Args:
            inputs: [B, ...].
            ranges: the least and the largest input of each layer [L, 2], on the network's device; NaN where it was
                never seen, and what is given there is not rounded then.
            rate: how fast they follow what they see first, in place, as a moving average; None: they stay.
        """

        known = ranges.isfinite().all(dim=1).tolist() if rate is None else []

        def rounded(number: int, given: Tensor) -> Tensor | None:
            if rate is not None:
                _follow(ranges[number], given, rate)
            return rounded_activation(given, ranges[number]) if rate is not None or known[number] else None

        weights = {f"{path}.weight": rounded_weight(layer.weight) for path, layer in self.layers.items()}
        arguments, named = ((inputs,), {}) if isinstance(inputs, Tensor) else ((), dict(inputs))
        with self._before_each(rounded):
            return functional_call(self.network, weights, arguments, named)

    def calibrated(self, batches: Iterable[Inputs]) -> Tensor:
        """The least and the largest input of each layer [L, 2] as the network is, NaN where none came; nothing moves.

        Args:
            batches: inputs [B, ...] on the network's device.
        """
        found: dict[int, Tensor] = {}

        def widen(number: int, given: Tensor) -> None:
            low, high = torch.aminmax(given.detach().float())
            if number in found:
                low, high = torch.minimum(low, found[number][0]), torch.maximum(high, found[number][1])
            found[number] = torch.stack([low, high])

        with self._before_each(widen), torch.inference_mode():
            for batch in batches:
                call(self.network, batch)
        ranges = self.unknown()
        for number, ends in found.items():
            ranges[number] = ends.cpu()
        return ranges

    def named(self, ranges: Tensor) -> dict[str, list[float]]:
        """Ranges [L, 2] by the path of their layer, as JSON takes them; those that are not known are left out."""
        said = dict(zip(self.layers, ranges.tolist(), strict=True))
        return {path: ends for path, ends in said.items() if ends[0] == ends[0]}

    def of_named(self, said: Mapping[str, Any]) -> Tensor:
        """What `named` gave, as ranges [L, 2]."""
        return torch.tensor([said.get(path, [torch.nan] * 2) for path in self.layers]).reshape(-1, 2)

    @contextmanager
    def _before_each(self, change: Callable[[int, Tensor], Tensor | None]) -> Iterator[None]:
        """While inside, what a layer is given goes through `change`, which is told its number."""

        def hook(number: int) -> Callable[..., Any]:
            def before(_layer: nn.Module, given: tuple[Any, ...]) -> Any:
                changed = change(number, given[0]) if given else None
                return None if changed is None else (changed, *given[1:])

            return before

        handles = [one.register_forward_pre_hook(hook(i)) for i, one in enumerate(self.layers.values())]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


class InInt8(nn.Module):
    """A network that answers in int8, as one that can be asked like any other.

    Args:
        network: inputs to logits.
        ranges: see `Int8.said`.
    """

    def __init__(self, network: nn.Module, ranges: Tensor) -> None:
        super().__init__()
        self.network = network
        self._int8 = Int8(network)
        self.ranges: Tensor
        self.register_buffer("ranges", ranges)

    def forward(self, *inputs: Tensor, **named: Tensor) -> Any:
        """Inputs [B, ...] to logits [B, K]."""
        return self._int8.said(named or inputs[0], self.ranges)


def keep_ranges(network: nn.Module, ranges: Tensor) -> None:
    """Let a network carry the ranges [L, 2] that it learned: in no state dict, and wherever a copy of it goes."""
    network.register_buffer(RANGES, ranges.detach().clone(), persistent=False)


def kept_ranges(network: nn.Module) -> Tensor | None:
    """Those of `keep_ranges`, if there are any."""
    return getattr(network, RANGES, None)


def _follow(ends: Tensor, given: Tensor, rate: float) -> None:
    """Move them, in place, towards the least and the largest of what is given; the first are taken as they are."""
    with torch.no_grad():
        seen = torch.stack(torch.aminmax(given.detach().float()))
        ends.copy_(torch.where(ends.isnan(), seen, torch.lerp(ends, seen, rate)))
