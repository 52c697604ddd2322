"""Weights of the terms that change while a student is trained: what every strategy that weighs has in common."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from kd_lab.strategies.common.strategy import Parties, Strategy, Taught, Training
from kd_lab.training.objective import HARD, HARD_WEIGHT, Objective
from kd_lab.types import Batch, LossTerms, Outputs

Factors = Mapping[str, float | Tensor]
"""By term, a number or a scalar that multiplies its base: the weight that it was given."""


class Weighted(Taught):
    """`sum_i factor_i * base_i * l_i`, the hard-label cross-entropy among the terms; all factors 1 change nothing.

    The base of a term is the weight that it was given, as its schedule moves it. One of weight 0 has none: it takes
    part with a base of 1, because what it is worth is what is asked, or stays out.

    Args:
        training: with its teacher.
        all_terms: whether a term of weight 0 takes part.
    """

    def __init__(self, training: Training, *, all_terms: bool = True) -> None:
        super().__init__(training)
        self.weighed = weighed(training.objective, all_terms=all_terms)
        """The terms that take part, by name."""
        self._lifted = frozenset(self.weighed) - frozenset(weighed(training.objective, all_terms=False))

    def forward(self, batch: Batch) -> LossTerms:
        """All terms by name, before their weights."""
        taught = None if self.teacher is None else self.teacher(batch)
        return self.weigh(batch, self.answers(batch), taught)

    def weigh(self, batch: Batch, own: Outputs, taught: Outputs | None) -> LossTerms:
        """The objective of what both networks said."""
        terms: LossTerms = self.objective(own, taught, batch, self.weights(self.factors()))
        return terms if taught is None else replace(terms, teacher_top=taught.logits.max())

    def factors(self) -> Factors:
        """As they are now, one for each that takes part."""
        raise NotImplementedError

    def weights(self, factors: Factors) -> dict[str, float | Tensor]:
        """Factors times bases; 0 of a soft term that does not take part."""
        base = self.objective.weights | {HARD: self.objective.hard_weight}
        found: dict[str, float | Tensor] = dict.fromkeys(self.objective.weights, 0.0)
        return found | {
            name: factor if name in self._lifted else base[name] * factor for name, factor in factors.items()
        }

    def readings(self) -> dict[str, float]:
        """The weights as they are now beside what the losses say: `kd_weight`, `hard_weight`."""
        with torch.no_grad():
            now = {_curve(name): float(weight) for name, weight in self.weights(self.factors()).items()}
        return self.objective.readings() | now


class Weighing(Strategy):
    """What weighs the terms of the objective against each other.

    Args:
        all_terms: whether a term of weight 0, such as the hard labels of the demo's loss, takes part as one of weight
            1; else it stays out.
    """

    def __init__(self, *, all_terms: bool = True) -> None:
        self.all_terms = all_terms

    def check(self, parties: Parties) -> None:
        """There are two terms or more.

        Raises:
            ValueError: there is one, whose weight has nothing to be weighed against.
        """
        found = weighed(parties.objective, all_terms=self.all_terms)
        if len(found) < 2:
            raise ValueError(
                f"all_terms={str(self.all_terms).lower()}: only {found[0]} has a weight above 0, so there is nothing "
                "to weigh; expected strategy.all_terms=true, or two terms, such as loss=[kd,dist]"
            )


def weighed(objective: Objective, *, all_terms: bool) -> tuple[str, ...]:
    """The terms that take part, the hard-label cross-entropy first: those of weight above 0, or all."""
    given = {HARD: objective.hard_weight} | objective.weights
    moved = {name or HARD for name, setting in objective.scheduled if setting in ("weight", HARD_WEIGHT)}
    return tuple(name for name, weight in given.items() if all_terms or weight > 0 or name in moved)


def _curve(name: str) -> str:
    return HARD_WEIGHT if name == HARD else f"{name}_weight"
