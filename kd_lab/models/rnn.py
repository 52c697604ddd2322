"""A recurrent network over sequences and series; an image is read row by row.

Legend: B batch, T steps, F features of a step, C channels, H height, W width, K classes.
"""

import logging
from typing import Literal

from torch import Tensor, nn

from kd_lab.models.common.inputs import check_num_classes, check_positive, check_shape

_logger = logging.getLogger(__name__)

CELLS: dict[str, type[nn.LSTM] | type[nn.GRU]] = {"lstm": nn.LSTM, "gru": nn.GRU}


class RNN(nn.Module):
    """LSTM or GRU layers; the last layer's hidden state after the last step goes into a linear classifier.

    Args:
        num_classes: K.
        input_shape: (T, F), or with `steps` last a series (C, T), which is read as T steps of C features; or an image
            (C, H, W), which is read as H steps of C*W features.
        cell: "lstm" or "gru".
        hidden: units of each layer.
        layers: recurrent layers on top of each other.
        steps: the axis of two that is the time: "first" or "last"; None: the first, and more features than steps are
            said aloud, because series have their channels first.

    Raises:
        ValueError: a shape that is no sequence, an unknown cell or axis, a size below 1; or steps is None and there is
            one step only.
    """

    def __init__(
        self,
        num_classes: int,
        input_shape: tuple[int, ...],
        *,
        cell: Literal["lstm", "gru"] = "lstm",
        hidden: int = 64,
        layers: int = 1,
        steps: Literal["first", "last"] | None = None,
    ) -> None:
        super().__init__()
        check_num_classes(num_classes)
        check_shape(input_shape)
        check_positive(hidden=hidden, layers=layers)
        if cell not in CELLS:
            raise ValueError(f"Expected `cell` to be lstm or gru, but got {cell}.")
        if steps not in {"first", "last", None}:
            raise ValueError(f"Expected `steps` to be first, last or null, but got {steps}.")
        if len(input_shape) not in {2, 3}:
            raise ValueError(
                "Expected `input_shape` of rnn to be a sequence [steps, features] or an image [channels, height, "
                f"width], but got {tuple(input_shape)}: give the data that shape, or choose mlp, which takes every "
                "shape."
            )
        if steps is not None and len(input_shape) == 3:
            raise ValueError(f"Expected `steps` to be null for an image, whose rows are the steps, but got {steps}.")
        if steps is None and len(input_shape) == 2:
            _check_order(*input_shape)
        self._last = steps == "last"
        features = input_shape[0 if self._last else 1] if len(input_shape) == 2 else input_shape[0] * input_shape[2]
        self.recurrent = CELLS[cell](features, hidden, layers, batch_first=True)
        self.classifier = nn.Linear(hidden, num_classes)

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs [B, T, F], [B, C, T] or [B, C, H, W] to logits [B, K]."""
        if self._last:
            inputs = inputs.transpose(1, 2)
        if inputs.dim() == 4:
            inputs = inputs.transpose(1, 2).flatten(2)
        states_bth, _ = self.recurrent(inputs)
        logits_bk: Tensor = self.classifier(states_bth[:, -1])
        return logits_bk


def _check_order(steps: int, features: int) -> None:
    """Whether the first axis can be the time."""
    todo = "steps=last reads series [channels, time]"
    if steps == 1 and features > 1:
        raise ValueError(
            f"Expected `input_shape` of rnn to have more than one step [steps, features], but got (1, {features}): "
            f"{todo}."
        )
    if features > steps:
        _logger.warning(
            "rnn reads (%d, %d) as %d steps of %d features; %s, steps=first says that this is meant.",
            *(steps, features, steps, features, todo),
        )
