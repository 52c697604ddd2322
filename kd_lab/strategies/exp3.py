"""Exp3: a bandit that chooses which term trains the student next, by what each gained on the validation part.

Source: Auer et al. 2002 (The nonstochastic multiarmed bandit problem), figure 1: an arm is drawn with probability
`p = (1 - gamma) softmax(log w) + gamma / K`, and its log w grows by `gamma r / (p K)`. An arm is a term, a round some
steps in which it alone is trained, at K times its weight. The reward is the fall of the loss of one validation batch
over the round, brought to 0..1 by the 20th and 80th percentile of those so far (as in Graves et al. 2017,
arXiv:1704.03003, equation 9, where it lies in -1..1).
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from kd_lab.inputs import call, eval_mode
from kd_lab.losses.common.checks import within
from kd_lab.seeds import mixed
from kd_lab.strategies.common.horizon import HeldOut, check_validation
from kd_lab.strategies.common.strategy import Parties, Training
from kd_lab.strategies.common.weighted import Factors, Weighing, Weighted
from kd_lab.types import Step

KEPT = 200
"""So many of the last rounds say what a gain is worth."""


class Exp3(Weighing):
    """One term at a time, drawn by what each has gained.

    Args:
        gamma: the share of rounds whose term is drawn evenly, 0..1.
        every: optimizer steps of a round.
        all_terms: see `Weighing`.

    Raises:
        ValueError: a setting is out of range.
    """

    def __init__(self, *, gamma: float = 0.1, every: int = 10, all_terms: bool = True) -> None:
        super().__init__(all_terms=all_terms)
        if every < 1:
            raise ValueError(f"Expected `every` to be >= 1, but got {every}.")
        self.gamma, self.every = within("gamma", gamma, 0, 1), every

    def check(self, parties: Parties) -> None:
        """There are two terms or more, and a validation part.

        Raises:
            ValueError: there are not.
        """
        check_validation(parties, f"every={self.every}")
        super().check(parties)

    def learns(self) -> str:
        """Probabilities."""
        return "how likely each term is to train next, by what it gained on the validation part"

    def step(self, training: Training) -> Step:
        """As plain distillation, one term at a time."""
        return Bandit(training, self.gamma, self.every, all_terms=self.all_terms)


class Bandit(Weighted):
    """The step of `Exp3`."""

    def __init__(self, training: Training, gamma: float, every: int, *, all_terms: bool) -> None:
        super().__init__(training, all_terms=all_terms)
        assert training.validation is not None, "checked before"
        self.gamma, self.every, self.seed = gamma, every, training.seed
        self.held_out = HeldOut(training.validation)
        self.log_weights: Tensor
        self.gains: Tensor
        self.before: Tensor
        self.arm: Tensor
        self.register_buffer("log_weights", torch.zeros(len(self.weighed), dtype=torch.float64))
        self.register_buffer("gains", torch.full((KEPT,), torch.nan, dtype=torch.float64))
        self.register_buffer("before", torch.zeros((), dtype=torch.float64))
        self.register_buffer("arm", torch.zeros((), dtype=torch.int64))
        self._at = -1

    def attach(self, device: torch.device) -> None:
        """The validation part comes to this device too."""
        super().attach(device)
        self.held_out.feed.to(device)

    def at_step(self, step: int, total_steps: int) -> None:
        """Set what is scheduled; where a round begins, the last one is judged and an arm is drawn."""
        super().at_step(step, total_steps)
        if step == self._at:
            return
        self._at = step
        round_, inside = divmod(step, self.every)
        if inside:
            return
        if round_:
            self.judge(self.before - self._loss(round_ - 1), round_ - 1)
        generator = torch.Generator().manual_seed(mixed(self.seed, step) >> 1)
        self.arm.copy_(torch.multinomial(self.probabilities().cpu(), 1, generator=generator)[0])
        self.before.copy_(self._loss(round_))

    def probabilities(self) -> Tensor:
        """Of each arm, [K]."""
        return (1 - self.gamma) * self.log_weights.softmax(0) + self.gamma / len(self.log_weights)

    def judge(self, gain: Tensor, number: int) -> None:
        """The arm that was drawn is worth more, by what it gained in a round of this number."""
        self.gains[number % KEPT] = gain
        low, high = torch.nanquantile(self.gains, torch.tensor([0.2, 0.8]).to(self.gains)).unbind()
        reward = torch.where(high > low, (gain - low) / torch.where(high > low, high - low, 1.0), 0.5).clamp(0, 1)
        own = self.probabilities()[self.arm]
        self.log_weights[self.arm] += self.gamma * reward / (own * len(self.log_weights))

    def factors(self) -> Factors:
        """K of the arm that was drawn, 0 of the others."""
        count = len(self.weighed)
        chosen = count * F.one_hot(self.arm, count).to(torch.float32)
        return dict(zip(self.weighed, chosen, strict=True))

    def readings(self) -> dict[str, float]:
        """The probability of each arm beside the weights."""
        found = zip(self.weighed, self.probabilities().tolist(), strict=True)
        return super().readings() | {f"{name}_probability": value for name, value in found}

    def _loss(self, number: int) -> Tensor:
        batch = self.held_out.at(number)
        with eval_mode(self.network), torch.no_grad():
            return F.cross_entropy(call(self.network, batch.inputs).double(), batch.targets)
