"""A multilayer perceptron: the network that takes every input shape.

Legend: B batch, K classes.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from kd_lab.models.common.inputs import check_num_classes, check_positive, check_shape


class MLP(nn.Module):
    """Flattens its input, then linear layers with ReLU between them.

    Args:
        num_classes: K.
        input_shape: the shape of one sample, any.
        widths: units of each hidden layer; an empty list makes a linear classifier.

    Raises:
        ValueError: a width below 1, an empty shape, fewer than two classes.
    """

    def __init__(self, num_classes: int, input_shape: tuple[int, ...], *, widths: Sequence[int] = (32,)) -> None:
        super().__init__()
        check_num_classes(num_classes)
        check_shape(input_shape)
        for width in widths:
            check_positive(widths=width)
        size = 1
        for dimension in input_shape:
            size *= dimension
        layers: list[nn.Module] = [nn.Flatten()]
        for width in widths:
            layers += [nn.Linear(size, width), nn.ReLU()]
            size = width
        self.layers = nn.Sequential(*layers, nn.Linear(size, num_classes))

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs [B, *input_shape] to logits [B, K]."""
        logits_bk: Tensor = self.layers(inputs)
        return logits_bk
