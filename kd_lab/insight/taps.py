"""What layers of a network say, taken without touching the network: forward hooks on modules named by their path.

Legend: B batch, C channels, L positions, H height, W width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from kd_lab.inputs import Inputs, mask_of


@dataclass(frozen=True)
class Tap:
    """Where to listen, and how to read what is heard there.

    path: the module, by its name in the network. at_input: what goes into the module, not what comes out.
    channels_last: the channels stand last (tokens [B, L, C], maps [B, H, W, C]) and are moved to the front.
    prefix: so many tokens at the start (class token, registers) are left out. grid: the tokens stand for a map (H, W).
    over_tokens: of a text, the mean over the positions that are no padding.
    clone: something writes into the tensor later in the forward pass (an in-place ReLU), so a copy is kept.
    """

    path: str
    at_input: bool = False
    channels_last: bool = False
    prefix: int = 0
    grid: tuple[int, int] | None = None
    over_tokens: bool = False
    clone: bool = False

    @property
    def name(self) -> str:
        """As a user writes it: `layer3`, or `fc:input`."""
        return f"{self.path}:input" if self.at_input else self.path

    def read(self, heard: Tensor, mask: Tensor | None = None) -> Tensor:
        """Channels first: [B, C], [B, C, L] or [B, C, H, W]; mask [B, L]: 0 on the padding of texts."""
        if self.channels_last and heard.ndim > 2:
            heard = heard.movedim(-1, 1)
        if self.prefix:
            heard = heard[:, :, self.prefix :]
        if self.over_tokens and mask is not None:
            counts = mask.unsqueeze(1).to(heard.dtype)
            return (heard * counts).sum(2) / counts.sum(2).clamp(min=1)
        return heard if self.grid is None else heard.reshape(*heard.shape[:2], *self.grid)


class Taps:
    """Listens to some layers of a network from `attach` to `remove`; after each forward pass, `take` what they said.

    A module that is called several times in a pass is heard the last time. A copy of the network made meanwhile
    (copy.deepcopy, pickle) has hooks that hear nothing. Under torch.compile, attach before the first call.
    """

    def __init__(self, network: nn.Module, taps: Sequence[Tap]) -> None:
        self.taps = tuple(taps)
        self._network = network
        self._ears: list[_Ear] = []
        self._handles: list[Any] = []

    def attach(self) -> "Taps":
        """Put the hooks in place; a second time changes nothing."""
        if self._handles:
            return self
        inner = uncompiled(self._network)
        for tap in self.taps:
            module, ear = inner.get_submodule(tap.path), _Ear(tap)
            self._ears.append(ear)
            if tap.at_input:
                self._handles.append(module.register_forward_pre_hook(ear.before))
            else:
                self._handles.append(module.register_forward_hook(ear.after))
        if self._handles and inner is not self._network:
            torch._dynamo.reset()  # code compiled before knows nothing of the hooks, and no guard would notice
        return self

    def take(self, inputs: Inputs | None = None) -> tuple[Tensor, ...]:
        """What the last forward pass said, in the order of the taps; it is kept no longer.

        Args:
            inputs: what the network was given in that pass; not needed where nothing is read `over_tokens`.

        Raises:
            RuntimeError: a layer was not called in that pass.
        """
        taken, mask = [], None if inputs is None else mask_of(inputs)
        for ear in self._ears:
            if ear.heard is None:
                raise RuntimeError(
                    f"Expected the layer {ear.tap.name} to be called in every forward pass, but it was not."
                )
            taken.append(ear.tap.read(ear.heard, mask))
            ear.heard = None
        return tuple(taken)

    def remove(self) -> None:
        """Take the hooks away."""
        for handle in self._handles:
            handle.remove()
        self._handles, self._ears = [], []


class _Ear:
    """A hook that keeps one tensor. Its copies are empty: a tensor in a graph cannot be copied, and is not theirs."""

    def __init__(self, tap: Tap) -> None:
        self.tap = tap
        self.heard: Tensor | None = None

    def before(self, _module: nn.Module, arguments: tuple[Any, ...]) -> None:
        self._keep(first_tensor(arguments))

    def after(self, _module: nn.Module, _arguments: tuple[Any, ...], output: Any) -> None:
        self._keep(first_tensor(output))

    def _keep(self, heard: Tensor | None) -> None:
        self.heard = heard.clone() if heard is not None and self.tap.clone else heard

    def __deepcopy__(self, _memo: dict[int, Any]) -> "_Ear":
        return _Ear(self.tap)

    def __reduce__(self) -> tuple[Any, ...]:
        return (_Ear, (self.tap,))


def first_tensor(output: Any) -> Tensor | None:
    """The tensor itself, or the first one in a tuple, list, dict or dataclass of Hugging Face."""
    if isinstance(output, Tensor):
        return output
    if isinstance(output, dict):
        output = tuple(output.values())
    if isinstance(output, tuple | list):
        return next((t for t in map(first_tensor, output) if t is not None), None)
    return None


def uncompiled(network: nn.Module) -> nn.Module:
    """The network behind torch.compile, whose modules have their own names."""
    inner = getattr(network, "_orig_mod", network)
    assert isinstance(inner, nn.Module)
    return inner
