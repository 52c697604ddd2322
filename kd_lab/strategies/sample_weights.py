"""Weights of samples: learned one step ahead on the validation part, or fixed by how sure the teacher is.

Sources: Ren et al. 2018 (arXiv:1803.09050), algorithm 1: the weight of a sample is the non-negative part of what it
would gain the validation loss, `max(0, <grad L_val, grad l_i>)`, anew in each batch. The controls learn nothing: what
of the teacher's entropy is missing to the largest there is (Kwon et al. 2020), and the margin between its two most
probable classes. All are divided by their mean over the batch, so that a learning rate keeps its meaning.

Legend: B batch, K classes.
"""

from typing import Literal, get_args

import torch
from torch import Tensor

from kd_lab.strategies.common.horizon import BY_A_STEP, Exact, Horizon, Looking
from kd_lab.strategies.common.samples import check_samples, entropy, weighed
from kd_lab.strategies.common.strategy import Parties, Strategy, Taught, Training
from kd_lab.types import UNLABELLED, Batch, LossTerms, Outputs, Step

By = Literal["look_ahead", "entropy", "margin", "none"]


class SampleWeights(Strategy):
    """Each sample's loss, hard and soft together, has a weight whose mean over the batch is 1.

    Args:
        by: what it follows from; none: all are 1.
        exact: of look_ahead, see `Looking`; the rate of the step cancels.

    Raises:
        ValueError: a setting is out of range.
    """

    def __init__(self, *, by: By = "look_ahead", exact: Exact = "auto") -> None:
        if by not in get_args(By):
            raise ValueError(f"Expected `by` to be one of {', '.join(get_args(By))}, but got {by}.")
        self.by = by
        self.looking = Looking(ahead_rate=1.0, exact=exact, every=1)

    def check(self, parties: Parties) -> None:
        """The losses are means over samples, and there is a validation part where it is learned from.

        Raises:
            ValueError: one of both is not so.
        """
        check_samples(parties, f"by={self.by}")
        if self.by == "look_ahead":
            self.looking.check(parties, f"by={self.by}")

    def learns(self) -> str:
        """Weights of samples, by looking ahead alone."""
        return f"the weight of each sample in its batch, {BY_A_STEP}" if self.by == "look_ahead" else ""

    def step(self, training: Training) -> Step:
        """As plain distillation, with a weight for each sample."""
        return Sampled(training, self.by, self.looking)


class Sampled(Taught):
    """The step of `SampleWeights`."""

    def __init__(self, training: Training, by: By, looking: Looking) -> None:
        super().__init__(training)
        self.by = by
        self.horizon = Horizon(self, training, looking) if by == "look_ahead" else None
        self._said: dict[str, Tensor] = {}

    def attach(self, device: torch.device) -> None:
        """The validation part comes to this device too."""
        super().attach(device)
        if self.horizon is not None:
            self.horizon.held_out.feed.to(device)

    def at_step(self, step: int, total_steps: int) -> None:
        """Set what is scheduled; the step has a validation batch of its own."""
        super().at_step(step, total_steps)
        if self.horizon is not None:
            self.horizon.at_step(step)

    def forward(self, batch: Batch) -> LossTerms:
        """All terms by name, before any weight."""
        assert self.teacher is not None, "a loss asks one"
        taught, own = self.teacher(batch), self.answers(batch)
        weights_B = self.sample_weights(batch, own, taught)
        self._said = _summary(weights_B, batch)
        return weighed(self.objective, own, taught, batch, weights_B)

    def sample_weights(self, batch: Batch, own: Outputs, taught: Outputs) -> Tensor:
        """[B], of mean 1; all 0 where no sample would do any good."""
        if self.by == "none":
            return torch.ones_like(own.logits[:, 0])
        gain_B = self._gain(batch, own, taught) if self.by == "look_ahead" else _sureness(taught, self.by)
        mean = gain_B.mean()
        return gain_B / torch.where(mean > 0, mean, 1.0)

    def _gain(self, batch: Batch, own: Outputs, taught: Outputs) -> Tensor:
        assert self.horizon is not None
        nothing_B = torch.zeros_like(own.logits[:, 0]).requires_grad_()
        (slope_B,) = self.horizon.gradient(
            lambda said: weighed(self.objective, said, taught, batch, nothing_B).total, batch, [nothing_B]
        )
        return (-slope_B).clamp(min=0)

    def readings(self) -> dict[str, float]:
        """Of the last batch: how many samples count for nothing, how many count, what labelled ones weigh."""
        return super().readings() | {name: float(value) for name, value in self._said.items()}


def _sureness(taught: Outputs, by: By) -> Tensor:
    if by == "entropy":
        return 1 - entropy(taught.logits)
    first_B, second_B = taught.logits.float().softmax(-1).topk(2).values.unbind(-1)
    return first_B - second_B


def _summary(weights_B: Tensor, batch: Batch) -> dict[str, Tensor]:
    known_B = batch.targets != UNLABELLED
    squares = weights_B.square().mean()
    return {
        "sample_weight_zero_share": (weights_B == 0).float().mean(),
        "sample_weight_effective_share": weights_B.mean().square() / torch.where(squares > 0, squares, 1.0),
        "sample_weight_labelled": (weights_B * known_B).sum() / known_B.sum().clamp(min=1),
        "sample_weight_unlabelled": (weights_B * ~known_B).sum() / (~known_B).sum().clamp(min=1),
    }
