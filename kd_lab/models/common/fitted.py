"""What learns at once from all samples, and not by gradients."""

from abc import abstractmethod

from torch import Tensor, nn

from kd_lab.inputs import Inputs


class Fitted(nn.Module):
    """A network without weights that an optimizer could move. It can teach; it cannot be distilled into."""

    @abstractmethod
    def fit(self, inputs: Inputs, targets: Tensor, weights: Tensor | None) -> None:
        """Learn from samples [N, ...] on the CPU and their classes [N]; weights [N], where not all count alike."""

    def check(self, targets: Tensor) -> None:
        """Raise a UserError if it cannot learn from samples of these classes [N]."""

    def own_answers(self, inputs: Tensor, targets: Tensor) -> Tensor | None:  # noqa: ARG002
        """Logits [N, K] that it teaches of the samples that it learned from, where not those it answers to any.

        Raises:
            UserError: these are not the samples and classes that it learned from.
        """
        return None

    def described(self) -> str | None:
        """Where such answers come from, in a few words."""
        return None
