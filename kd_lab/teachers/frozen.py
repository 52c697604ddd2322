"""A network that answers and never changes.

Legend: B batch, K classes.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kd_lab.insight.taps import Tap, Taps
from kd_lab.types import Outputs


class FrozenTeacher:
    """Holds a trained network in eval mode, without gradients, out of reach of whoever holds this object.

    It is no `nn.Module` on purpose: as an attribute of a module it is in no `parameters()`, no `state_dict()` and no
    checkpoint, and `train()` on its owner does not reach it. The price: its owner moves it with `to`.

    Args:
        module: the network; it is put in eval mode and its parameters stop asking for gradients.
        taps: the layers whose outputs are wanted too; attach `taps` while they are.
    """

    def __init__(self, module: nn.Module, taps: Sequence[Tap] = ()) -> None:
        self.module = module.eval().requires_grad_(False)
        self.taps = Taps(module, taps)

    def __call__(self, inputs: Tensor, strong: Tensor | None = None) -> Outputs:
        """Inputs [B, *input_shape] to its logits [B, K] and features, without a graph.

        Args:
            inputs: what the student sees.
            strong: a second view of the same samples, where the student sees one.
        """
        with torch.no_grad():
            logits = self.module(inputs)
            features = self.taps.take()
            return Outputs(logits, features, None if strong is None else self.module(strong))

    def to(self, device: torch.device | str) -> "FrozenTeacher":
        """Moves the network to `device`, in place, and returns itself."""
        self.module.to(device)
        return self
