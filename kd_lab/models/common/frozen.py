"""A network that answers and never changes.

Legend: B batch, K classes.
"""

import torch
from torch import Tensor, nn

from kd_lab.types import Outputs


class FrozenTeacher:
    """Holds a trained network in eval mode, without gradients, out of reach of whoever holds this object.

    It is no `nn.Module` on purpose: as an attribute of a module it is in no `parameters()`, no `state_dict()` and no
    checkpoint, and `train()` on its owner does not reach it. The price: its owner moves it with `to`.

    Args:
        module: the network; it is put in eval mode and its parameters stop asking for gradients.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module.eval().requires_grad_(False)

    def __call__(self, inputs: Tensor) -> Outputs:
        """Inputs [B, *input_shape] to its logits [B, K], without a graph."""
        with torch.no_grad():
            return Outputs(logits=self.module(inputs))

    def to(self, device: torch.device | str) -> "FrozenTeacher":
        """Moves the network to `device`, in place, and returns itself."""
        self.module.to(device)
        return self
