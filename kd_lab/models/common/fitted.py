"""What learns at once from all samples, and not by gradients."""

from abc import abstractmethod

from torch import Tensor, nn

from kd_lab.inputs import Inputs


class Fitted(nn.Module):
    """A network without weights that an optimizer could move. It can teach; it cannot be distilled into."""

    @abstractmethod
    def fit(self, inputs: Inputs, targets: Tensor, weights: Tensor | None) -> None:
        """Learn from samples [N, ...] on the CPU and their classes [N]; weights [N], where not all count alike."""
