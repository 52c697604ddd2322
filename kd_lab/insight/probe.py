"""What a network is made of, seen from one forward pass: which layers answer, in which order, with which shapes.

Legend: B batch, C channels.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from kd_lab.inputs import Inputs, call, count, eval_mode, moved
from kd_lab.insight.taps import Tap, first_tensor, uncompiled
from kd_lab.types import Shape

ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Hardswish, nn.Tanh, nn.Sigmoid)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
CHANNELS_LAST = (nn.Linear, nn.LayerNorm, nn.RNNBase, nn.MultiheadAttention, nn.Embedding)
SAMPLES = 2


@dataclass(frozen=True)
class Layer:
    """One module as it was called last: its tap, the shape of what it says (channels first), its place in the order.

    parent: the module in whose forward it was called, None for the network itself. leaf: has no modules of its own.
    weighty: has weights that make channels (linear, convolution, recurrence, embedding).
    """

    tap: Tap
    shape: Shape
    kind: type[nn.Module]
    order: int
    parent: str | None
    leaf: bool
    weighty: bool

    @property
    def path(self) -> str:
        """The module's name in the network."""
        return self.tap.path


@dataclass
class Probe:
    """A network looked at: every layer that was called, by path, in the order in which they finished.

    heard: what each layer was given and said, the values of this one pass. head: the path of the classifier, the
    linear layer whose output is the logits; None where there is none.
    """

    network: nn.Module
    layers: Mapping[str, Layer]
    inputs: Mapping[str, Layer]
    heard: Mapping[str, Tensor]
    given: Mapping[str, Tensor]
    logits: Tensor
    head: str | None = field(default=None)

    @classmethod
    def of(cls, network: nn.Module, example: Inputs) -> "Probe":
        """Send two samples through the network, in eval mode; modes, statistics and random state stay.

        Args:
            network: inputs to logits, on any device.
            example: two real samples [2, ...], as the network is given them.
        """
        inner = uncompiled(network)
        record = _Record(inner)
        device = next((t.device for t in inner.state_dict().values()), torch.device("cpu"))
        assert count(example) == SAMPLES
        with eval_mode(inner), torch.random.fork_rng(devices=[]), torch.no_grad(), record:
            logits = call(inner, moved(example, device))
        probe = cls(inner, record.layers(), record.layers(at_input=True), record.said, record.given, logits)
        probe.head = probe._find_head()
        return probe

    def _find_head(self) -> str | None:
        """The last linear layer that says the logits themselves."""
        found = None
        for path, layer in self.layers.items():
            said = self.heard[path]
            if layer.kind is nn.Linear and said.shape == self.logits.shape and torch.equal(said, self.logits):
                found = path
        return found

    def head_module(self) -> nn.Module | None:
        """The classifier itself."""
        return None if self.head is None else self.network.get_submodule(self.head)

    def children(self, path: str) -> list[Layer]:
        """The modules that were called in this one's own forward, in the order in which they finished."""
        return [layer for layer in self.layers.values() if layer.parent == path]

    def spine(self) -> list[Layer]:
        """The layers that follow each other on the way from input to logits; blocks are not looked into."""
        return list(self._spine(""))

    def _spine(self, path: str) -> Iterator[Layer]:
        for layer in self.children(path):
            if self._opens(layer):
                yield from self._spine(layer.path)
            yield layer

    def _opens(self, layer: Layer) -> bool:
        """Whether a module is a row of others rather than a block: Sequential, repeated blocks, or a mere wrapper."""
        inside = self.children(layer.path)
        blocks = [child.kind for child in inside if not child.leaf and self.weighty_inside(child.path)]
        repeated = any(blocks.count(kind) > 1 for kind in blocks)
        wrapper = bool(blocks) and 2 * self._weights(layer.path) > self._weights("")
        return bool(inside) and (issubclass(layer.kind, nn.Sequential) or repeated or wrapper)

    def _weights(self, path: str) -> int:
        return sum(p.numel() for p in self.network.get_submodule(path).parameters())

    def inside(self, path: str) -> list[Layer]:
        """The leaves called within a module, itself if it is one, in the order in which they finished."""
        start = f"{path}." if path else ""
        return [x for p, x in self.layers.items() if x.leaf and (p == path or p.startswith(start))]

    def weighty_inside(self, path: str) -> int:
        """How many layers that mix channels were called within a module, itself if it is one."""
        return sum(leaf.weighty for leaf in self.inside(path))

    def before_activation(self, layer: Layer) -> tuple[Tap, Shape]:
        """The tap before a layer's closing activation, and its shape; after the layer where it closes without one."""
        said = self.heard[layer.path]
        for leaf in reversed(self.inside(layer.path)):
            if issubclass(leaf.kind, ACTIVATIONS) and _same(self.heard[leaf.path], said):
                before = self.inputs[leaf.path]
                return before.tap, before.shape
        return layer.tap, layer.shape

    def norm_before(self, tap: Tap, channels: int) -> nn.Module | None:
        """The last BatchNorm over so many channels that was called before what the tap hears was there."""
        end = self.layers[tap.path].order
        found = [
            layer.path
            for layer in self.layers.values()
            if layer.order <= end and issubclass(layer.kind, NORMS) and layer.shape[0] == channels
        ]
        return self.network.get_submodule(found[-1]) if found else None


def _same(one: Tensor, other: Tensor) -> bool:
    """The same numbers in the same place: an in-place layer returns what it was given."""
    return one.shape == other.shape and (one is other or one.data_ptr() == other.data_ptr())


class _Record:
    """Hooks on every module of a network for one forward pass."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self.said: dict[str, Tensor] = {}
        self.given: dict[str, Tensor] = {}
        self._versions: dict[tuple[str, bool], int] = {}
        self._parents: dict[str, str | None] = {}
        self._order: dict[str, int] = {}
        self._stack: list[str] = []
        self._handles: list[Any] = []

    def __enter__(self) -> "_Record":
        for path, module in self.network.named_modules():
            self._handles.append(module.register_forward_pre_hook(self._before(path)))
            self._handles.append(module.register_forward_hook(self._after(path)))
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _before(self, path: str) -> Any:
        def hook(_module: nn.Module, arguments: tuple[Any, ...]) -> None:
            self._parents[path] = self._stack[-1] if self._stack else None
            self._stack.append(path)
            self._keep(path, first_tensor(arguments), at_input=True)

        return hook

    def _after(self, path: str) -> Any:
        def hook(_module: nn.Module, _arguments: tuple[Any, ...], output: Any) -> None:
            self._stack.pop()
            self._order.pop(path, None)  # called again: it stands where it finished last
            self._order[path] = 1 + max(self._order.values(), default=-1)
            self._keep(path, first_tensor(output), at_input=False)

        return hook

    def _keep(self, path: str, tensor: Tensor | None, *, at_input: bool) -> None:
        kept = self.given if at_input else self.said
        kept.pop(path, None)
        if tensor is not None:
            kept[path] = tensor
            self._versions[path, at_input] = tensor._version

    def layers(self, *, at_input: bool = False) -> dict[str, Layer]:
        """Every module that was given (or said) a tensor with one row per sample, in order."""
        found, before = {}, list[nn.Module]()
        kept = self.given if at_input else self.said
        for path, order in self._order.items():
            module = self.network.get_submodule(path)
            before.append(module)
            tensor = kept.get(path)
            # Transformers of torchvision and Hugging Face may fold the batch; such layers cannot be tapped.
            if tensor is None or tensor.ndim < 2 or len(tensor) != SAMPLES or not tensor.is_floating_point():
                continue
            last = _channels_last(before[:-1] if at_input else before, tensor)
            written = tensor._version != self._versions[path, at_input]
            tap = Tap(path, at_input=at_input, channels_last=last, clone=written)
            found[path] = Layer(
                tap=tap,
                shape=tuple(tap.read(tensor).shape[1:]),
                kind=type(module),
                order=order,
                parent=self._parents[path],
                leaf=not any(True for _ in module.children()),
                weighty=isinstance(module, nn.Linear | nn.RNNBase | nn.modules.conv._ConvNd | nn.Embedding),
            )
        return found


def _channels_last(before: Sequence[nn.Module], tensor: Tensor) -> bool:
    """Whether the channels stand last, as the nearest layer before it that has channels shows."""
    if tensor.ndim < 3:
        return False
    for module in reversed(before):
        size = _channels(module)
        places = [axis for axis in (1, tensor.ndim - 1) if tensor.shape[axis] == size]
        if len(places) == 1:
            return places[0] != 1
        if places:
            return isinstance(module, CHANNELS_LAST)
    return tensor.ndim == 3


def _channels(module: nn.Module) -> int | None:
    """How many channels a layer gives out, where it has its own idea of them."""
    if isinstance(module, nn.LayerNorm):
        return module.normalized_shape[-1]
    for name in ("out_channels", "num_features", "out_features", "hidden_size", "embed_dim", "embedding_dim"):
        value = getattr(module, name, None)
        if isinstance(value, int):
            both = isinstance(module, nn.RNNBase) and module.bidirectional
            return 2 * value if both else value
    return None
