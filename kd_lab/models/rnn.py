"""A recurrent network over sequences; an image is read row by row.

Legend: B batch, T steps, F features of a step, C channels, H height, W width, K classes.
"""

from typing import Literal

from torch import Tensor, nn

from kd_lab.models.common.inputs import check_num_classes, check_positive, check_shape

CELLS: dict[str, type[nn.LSTM] | type[nn.GRU]] = {"lstm": nn.LSTM, "gru": nn.GRU}


class RNN(nn.Module):
    """LSTM or GRU layers; the last layer's hidden state after the last step goes into a linear classifier.

    Args:
        num_classes: K.
        input_shape: (T, F), or an image (C, H, W), which is read as H steps of C*W features.
        cell: "lstm" or "gru".
        hidden: units of each layer.
        layers: recurrent layers on top of each other.

    Raises:
        ValueError: a shape that is no sequence, an unknown cell, a size below 1.
    """

    def __init__(
        self,
        num_classes: int,
        input_shape: tuple[int, ...],
        *,
        cell: Literal["lstm", "gru"] = "lstm",
        hidden: int = 64,
        layers: int = 1,
    ) -> None:
        super().__init__()
        check_num_classes(num_classes)
        check_shape(input_shape)
        check_positive(hidden=hidden, layers=layers)
        if cell not in CELLS:
            raise ValueError(f"Expected `cell` to be lstm or gru, but got {cell}.")
        if len(input_shape) not in {2, 3}:
            raise ValueError(
                "Expected `input_shape` of rnn to be a sequence [steps, features] or an image [channels, height, "
                f"width], but got {tuple(input_shape)}: give the data that shape, or choose mlp, which takes every "
                "shape."
            )
        features = input_shape[1] if len(input_shape) == 2 else input_shape[0] * input_shape[2]
        self.recurrent = CELLS[cell](features, hidden, layers, batch_first=True)
        self.classifier = nn.Linear(hidden, num_classes)

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs [B, T, F] or [B, C, H, W] to logits [B, K]."""
        if inputs.dim() == 4:
            inputs = inputs.transpose(1, 2).flatten(2)
        states_bth, _ = self.recurrent(inputs)
        logits_bk: Tensor = self.classifier(states_bth[:, -1])
        return logits_bk
