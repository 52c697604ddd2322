"""What a network does behind one of its layers, as a network of its own that is given what the layer says.

It is a copy of the whole network in which what was called up to the layer is left out, so that nothing has to be known
of how the rest is called. Whether that is the same is tried: a way around the layer shows in other logits.
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from kd_lab.inputs import Inputs, call, eval_mode
from kd_lab.insight.probe import Layer, Probe
from kd_lab.insight.taps import Tap, Taps, first_tensor


def heard_as_said(end: Layer) -> Tap:
    """The tap that a tail is to be given the tensor of: as the layer says it, with channels where they are."""
    return Tap(end.path, clone=end.tap.clone)


class Tail(nn.Module):
    """The network behind one layer, with weights of its own: those of the network when it was made.

    Args:
        probe: the network, looked at.
        end: the layer.
        example: real samples, as the network is given them.

    Raises:
        ValueError: what follows the layer does not follow from what it says alone.
    """

    def __init__(self, probe: Probe, end: Layer, example: Inputs) -> None:
        super().__init__()
        network, self._given = probe.network, _Given(copies=end.tap.clone)
        before = [layer.path for layer in probe.layers.values() if layer.order < end.order]
        left_out: dict[int, Any] = {id(network.get_submodule(path)): _Passed() for path in before}
        left_out[id(network.get_submodule(end.path))] = self._given
        self.network = copy.deepcopy(network, left_out)
        self._try(probe, end, example)

    def forward(self, inputs: Inputs, said: Tensor) -> Tensor:
        """Logits [B, K] of samples, of which the layer has said [B, ...]; of texts the rest may ask for their mask."""
        self._given.said = said
        try:
            logits: Tensor = call(self.network, inputs)
        finally:
            self._given.said = None
        return logits

    def _try(self, probe: Probe, end: Layer, example: Inputs) -> None:
        """Compare with the whole network; what its logits do not follow from, such as places of tokens, is frozen."""
        complaint = (
            f"what follows the layer {end.path} needs more than what that says; expected a network whose stages follow "
            "each other, such as student=cnn"
        )
        with eval_mode(probe.network), eval_mode(self.network):
            taps = Taps(probe.network, [heard_as_said(end)]).attach()
            try:
                with torch.no_grad():
                    expected = call(probe.network, example)
                (said,) = taps.take()
            finally:
                taps.remove()
            try:
                logits = self(example, said)
            except (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError):
                raise ValueError(complaint) from None
        if logits.shape != expected.shape or not torch.allclose(logits, expected, rtol=1e-4, atol=1e-5):
            raise ValueError(complaint)
        parameters = [one for one in self.network.parameters() if one.requires_grad]
        gradients = torch.autograd.grad(logits.sum(), parameters, allow_unused=True)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.requires_grad_(gradient is not None)

    def draw(self, seed: int) -> None:
        """Other weights of the same distribution: each tensor's numbers in another order.

        A network whose weights nobody has trained draws the numbers of a tensor alike and independently, whatever its
        own scheme is; only what it arranges on purpose (orthogonal rows) is lost.
        """
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for one in self.network.parameters():
                order = torch.randperm(one.numel(), generator=generator).to(one.device)
                one.copy_(one.flatten()[order].view_as(one))


class _Passed(nn.Module):
    """Stands for a layer that is left out."""

    def forward(self, *arguments: Any, **named: Any) -> Tensor | None:
        """The first tensor, as it is: nobody looks at it."""
        return first_tensor((arguments, named))


class _Given(nn.Module):
    """Stands for the layer that the tail begins behind.

    Args:
        copies: what follows may write into it.
    """

    def __init__(self, *, copies: bool) -> None:
        super().__init__()
        self.said: Tensor | None = None
        self._copies = copies
        # A network of texts leaves padding out where nobody listens; the layer was listened to, so it has not.
        self.register_forward_hook(_listen)

    def forward(self, *_arguments: Any, **_named: Any) -> Tensor:
        """What the layer has said."""
        assert self.said is not None
        return self.said.clone() if self._copies else self.said


def _listen(_module: nn.Module, _arguments: Any, _output: Any) -> None:
    """Changes nothing."""
