"""GradNorm: weights under which all terms pull the last shared layer alike, the slower ones a little harder.

Source: Chen et al. 2018 (arXiv:1711.02257), equations 1 and 2 and algorithm 1: with `G_i = || w_i grad_W l_i ||` and
r_i the loss by its first value, divided by the mean of these, w moves against `sum_i | G_i - mean(G) r_i^exponent |`,
whose second part is held. The weights are K softmax(v), which keeps the mean 1 that the authors renormalise to. W is
the last matrix or kernel that every term reaches. A batch in which a term is 0, such as one without labels, moves none.

Costs a backward pass for each term, down to W alone.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kd_lab.losses.common.checks import not_negative, positive
from kd_lab.strategies.common.ahead import Learned, meant
from kd_lab.strategies.common.strategy import Parties, Training
from kd_lab.strategies.common.weighted import Factors, Weighing, Weighted
from kd_lab.types import Batch, LossTerms, Outputs, Step


class GradNorm(Weighing):
    """The weights balance the gradients of the terms.

    Args:
        exponent: of the rate at which a term falls; 0 wants the same norm of all.
        learning_rate: of Adam, which moves the weights.
        all_terms: see `Weighing`.

    Raises:
        ValueError: a setting is out of range.
    """

    def __init__(self, *, exponent: float = 1.5, learning_rate: float = 0.025, all_terms: bool = True) -> None:
        super().__init__(all_terms=all_terms)
        self.exponent = not_negative("exponent", exponent)
        self.learning_rate = positive("learning_rate", learning_rate)

    def check(self, parties: Parties) -> None:
        """There are two terms or more, and a backward pass for each.

        Raises:
            ValueError: there is one term, or the student is compiled.
        """
        super().check(parties)
        if parties.compiled:
            raise ValueError(
                "each term has a backward pass of its own through the student, and torch.compile keeps what one needs; "
                "expected student.recipe.compile=false"
            )

    def learns(self) -> str:
        """Weights."""
        return "the weights of the terms, from their gradients on the training part"

    def step(self, training: Training) -> Step:
        """As plain distillation, with weights that follow the gradients."""
        return Normed(training, self.exponent, self.learning_rate, all_terms=self.all_terms)


class Normed(Weighted):
    """The step of `GradNorm`."""

    def __init__(self, training: Training, exponent: float, learning_rate: float, *, all_terms: bool) -> None:
        super().__init__(training, all_terms=all_terms)
        self.exponent = exponent
        self.learned = Learned(torch.zeros(len(self.weighed)), learning_rate)
        self.first: Tensor
        self.register_buffer("first", torch.full((len(self.weighed),), torch.nan))
        self._shared: list[nn.Parameter] = []
        self._at, self._due = -1, False

    def attach(self, device: torch.device) -> None:
        """What is learned comes to this device."""
        super().attach(device)
        self.learned.attach(device)

    def at_step(self, step: int, total_steps: int) -> None:
        """Set what is scheduled; the weights are moved once in a step."""
        super().at_step(step, total_steps)
        self._due, self._at = step != self._at, step

    def factors(self) -> Factors:
        """K softmax(v)."""
        return dict(zip(self.weighed, _softmax(self.learned.values.detach()), strict=True))

    def weigh(self, batch: Batch, own: Outputs, taught: Outputs | None) -> LossTerms:
        """Weigh, then move the weights of the next step."""
        terms = super().weigh(batch, own, taught)
        if self._due:
            self._due = False
            base = self.weights(dict.fromkeys(self.weighed, 1.0))
            self._balance([terms.terms[name] * base[name] for name in self.weighed])
        return terms

    def own_buffers(self) -> list[str]:
        """The first losses of each process are its own."""
        return [*super().own_buffers(), "first"]

    def _balance(self, losses: Sequence[Tensor]) -> None:
        values = torch.stack([loss.detach().float() for loss in losses])
        if not bool((values > 0).all()):
            gradient = torch.zeros_like(self.learned.values)
        else:
            self.first.copy_(torch.where(self.first.isnan(), values, self.first))
            gradient = self._gradient(self._norms(losses), values / self.first)
        (together,) = meant([gradient])
        if bool(together.any()):
            self.learned.move(together)

    def _gradient(self, norms: Tensor, fallen: Tensor) -> Tensor:
        v = self.learned.values
        sizes = _softmax(v) * norms
        wanted = sizes.mean() * (fallen / fallen.mean()) ** self.exponent
        (found,) = torch.autograd.grad((sizes - wanted.detach()).abs().sum(), v)
        return found

    def _norms(self, losses: Sequence[Tensor]) -> Tensor:
        """Of each loss's gradient by the last shared layer."""
        self._shared = self._shared or [self._last_shared(losses)]
        found = [torch.autograd.grad(loss, self._shared, retain_graph=True)[0] for loss in losses]
        return torch.stack([one.norm() for one in found])

    def _last_shared(self, losses: Sequence[Tensor]) -> nn.Parameter:
        wide = [one for one in self.network.parameters() if one.requires_grad and one.ndim > 1]
        reached = [torch.autograd.grad(loss, wide, retain_graph=True, allow_unused=True) for loss in losses]
        shared = [i for i in range(len(wide)) if all(found[i] is not None for found in reached)]
        return wide[shared[-1]]


def _softmax(v: Tensor) -> Tensor:
    return len(v) * v.softmax(0)
