"""One step ahead: how a number that the training loss is made of changes the validation loss after a step of SGD.

`d L_val(theta - rate * grad L(theta, w)) / dw`, as in Ren et al. 2018 (arXiv:1803.09050), equation 5, and Liu et al.
2019 (DARTS, arXiv:1806.09055), equation 6; by finite differences as in equation 8 of the latter. Its first order, with
`rate` 0, says nothing here, for no w is in L_val itself.

Legend: N parameter tensors, L learned tensors.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, distributed, nn

Weights = Mapping[str, Tensor]
"""The parameters of a network by name."""

Value = Callable[[Weights], Tensor]
"""A loss of a network with these parameters, a scalar."""

REACH = 0.01
"""How far, in the L2 norm of all parameters, a finite difference reaches to each side (DARTS, equation 8)."""


def ahead(
    loss: Value, validation: Value, weights: Weights, learned: Sequence[Tensor], rate: float, *, exact: bool
) -> list[Tensor]:
    """The derivative by each of `learned`, in its shape; under DDP of this process alone, see `meant`.

    Args:
        loss: of the training, which `learned` is part of.
        validation: the loss of the validation part.
        weights: theta.
        learned: L tensors that require a gradient.
        rate: of the step.
        exact: through the step itself, in the memory of its graph; else by finite differences, in two passes more.
    """
    theta = {name: one.detach().requires_grad_() for name, one in weights.items()}
    gradients = torch.autograd.grad(
        loss(theta), list(theta.values()), create_graph=exact, allow_unused=True, materialize_grads=True
    )
    moved = {name: one - rate * g for (name, one), g in zip(theta.items(), gradients, strict=True)}
    if exact:
        return list(torch.autograd.grad(validation(moved), learned, allow_unused=True, materialize_grads=True))
    after = {name: one.detach().requires_grad_() for name, one in moved.items()}
    towards = torch.autograd.grad(validation(after), list(after.values()), allow_unused=True, materialize_grads=True)
    reach = REACH / torch.stack([one.square().sum() for one in towards]).sum().sqrt().clamp(min=1e-12)
    sides = [_at(loss, theta, towards, side * reach, learned) for side in (1, -1)]
    return [-rate * (up - down) / (2 * reach) for up, down in zip(*sides, strict=True)]


def _at(
    loss: Value, theta: Weights, towards: Sequence[Tensor], reach: Tensor, learned: Sequence[Tensor]
) -> Sequence[Tensor]:
    moved = {name: one.detach() + reach * v for (name, one), v in zip(theta.items(), towards, strict=True)}
    return torch.autograd.grad(loss(moved), learned, allow_unused=True, materialize_grads=True)


def meant(found: Sequence[Tensor]) -> list[Tensor]:
    """The means over the processes, where there are several: what all of them learn moves alike."""
    together = distributed.is_available() and distributed.is_initialized()
    if together:
        for one in found:
            distributed.all_reduce(one)
    return [one / distributed.get_world_size() for one in found] if together else list(found)


class Learned(nn.Module):
    """Numbers that are moved by Adam of their own: no parameters of the training, but in its state.

    Args:
        start: of them, a vector.
        rate: Adam's learning rate.
    """

    def __init__(self, start: Tensor, rate: float) -> None:
        super().__init__()
        self.values = start.clone().requires_grad_()
        self._optimizer = torch.optim.Adam([self.values], rate)

    def attach(self, device: torch.device) -> None:
        """They come to this device, and are those of this process alone: one on the CPU is handed another's memory."""
        self.values.data = self.values.data.to(device, copy=True)

    def move(self, gradient: Tensor) -> None:
        """A step against this gradient."""
        self.values.grad = gradient
        self._optimizer.step()

    def get_extra_state(self) -> dict[str, Any]:
        """The numbers and what Adam remembers."""
        return {"values": self.values.detach().clone(), "optimizer": self._optimizer.state_dict()["state"]}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """What `get_extra_state` gave."""
        with torch.no_grad():
            self.values.copy_(state["values"])
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": state["optimizer"], "param_groups": groups})
