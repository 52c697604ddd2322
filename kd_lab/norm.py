"""BatchNorm that does not stop a training at its last, short batch: for parts that are added to a network or a loss.

Legend: B batch, C channels.
"""

from torch import Tensor
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm


class BatchNorm(_BatchNorm):
    """BatchNorm over the channels of vectors, sequences or maps.

    One value per channel (a batch of one, one position) has no variance, and torch raises a ValueError there. This one
    normalises such a batch with its running statistics, as in eval mode, and leaves them as they are.

    Args:
        num_features: C.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  # torch's own name for it
        """[B, C, *positions] to the same shape."""
        if self.training and input.numel() == self.num_features:
            return F.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(input)

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002
        """Any number of positions."""
