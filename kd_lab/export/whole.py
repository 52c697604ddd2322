"""A kept network with what prepares its samples, as one module: raw samples go in, logits come out."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from kd_lab.inputs import Inputs, call
from kd_lab.types import Prepare


class Whole(nn.Module):
    """Inputs [B, ...] as the dataset's files have them to logits [B, K] float32.

    Args:
        network: the network.
        steps: what is done to raw samples before it is given them.
    """

    def __init__(self, network: nn.Module, steps: tuple[Prepare, ...]) -> None:
        super().__init__()
        self.network, self.steps = network, steps

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs of one name."""
        return self.logits(inputs)

    def logits(self, inputs: Inputs) -> Tensor:
        """Of inputs of one name or several."""
        for step in self.steps:
            inputs = step(inputs)
        found: Tensor = call(self.network, inputs).float()
        return found


class WholeOfNamed(Whole):
    """The same for inputs of several names, which it takes by these."""

    def forward(self, **inputs: Tensor) -> Tensor:  # type: ignore[override]
        """Inputs by name."""
        return self.logits(inputs)


class Answering(nn.Module):
    """What answers inputs without being a module, as one: so that it is asked and timed as networks are.

    Args:
        answer: inputs, one or by name, to logits [B, K].
    """

    def __init__(self, answer: Callable[..., Tensor]) -> None:
        super().__init__()
        self.answer: Any = (answer,)  # in a tuple, so that a module is not taken for a part

    def forward(self, *given: Tensor, **named: Tensor) -> Tensor:
        """See `answer`."""
        logits: Tensor = self.answer[0](*given, **named)
        return logits
