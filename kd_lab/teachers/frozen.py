"""A network that answers and never changes.

Legend: B batch, K classes.
"""

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import nn

from kd_lab.inputs import call
from kd_lab.insight.taps import Tap, Taps
from kd_lab.models.common.weights import weights_sha256
from kd_lab.types import Batch, Outputs


class FrozenTeacher:
    """Holds a trained network in eval mode, without gradients, out of reach of whoever holds this object.

    It is no `nn.Module` on purpose: as an attribute of a module it is in no `parameters()`, no `state_dict()` and no
    checkpoint, and `train()` on its owner does not reach it. See `kd_lab.types.Teacher`.

    Args:
        module: the network; it is put in eval mode and its parameters stop asking for gradients.
        taps: the layers whose outputs are wanted too.
    """

    def __init__(self, module: nn.Module, taps: Sequence[Tap] = ()) -> None:
        self.module = module.eval().requires_grad_(False)
        self._taps = Taps(module, taps)
        self.samples = 0

    @property
    def identity(self) -> str:
        """The hash of its weights."""
        return weights_sha256(self.module)

    def attach(self, device: torch.device | str) -> Self:
        """Moves the network to the device, in place, and begins to listen to its layers."""
        self.module.to(device)
        self._taps.attach()
        return self

    def __call__(self, batch: Batch) -> Outputs:
        """Its logits [B, K], its features and its logits of each view, without a graph."""
        self.samples += len(batch.index) * (1 + len(batch.views))
        with torch.no_grad():
            logits = call(self.module, batch.inputs)
            features = self._taps.take(batch.inputs)
            return Outputs(logits, features, tuple(call(self.module, view) for view in batch.views))

    def state_dict(self) -> dict[str, Any]:
        """How many samples it answered in this training."""
        return {"samples": self.samples}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting from there."""
        self.samples = state_dict["samples"]

    def release(self) -> None:
        """Takes the hooks off the network again."""
        self._taps.remove()
