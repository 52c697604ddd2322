"""Weights and temperature learned from the validation part: they go where a step of the training lowers its loss.

Source: Ren et al. 2018 (arXiv:1803.09050), section 3.3, for weights by one step ahead, and Liu et al. 2019 (DARTS,
arXiv:1806.09055), section 2.3, for moving them by Adam of their own beside the network. The weights are K softmax(v):
their mean stays 1, because with a free scale every one would grow, a larger step being better for as long as the
validation loss falls. The temperature is the exponential of what is learned, and the total keeps its T squared.

A look costs an exact derivative two passes through the step's own graph, by finite differences four passes more.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from kd_lab.losses.common.checks import positive
from kd_lab.strategies.common.ahead import Learned, meant
from kd_lab.strategies.common.horizon import BY_A_STEP, Exact, Horizon, Looking
from kd_lab.strategies.common.strategy import Parties, Training
from kd_lab.strategies.common.weighted import Factors, Weighing, Weighted
from kd_lab.training.aside import terms_of
from kd_lab.training.objective import Objective
from kd_lab.types import Batch, LossTerms, Outputs, Step

COLDEST, HOTTEST = 0.5, 20.0
"""A learned temperature stays between them."""


class LookAhead(Weighing):
    """Each weight moves against `d L_val(theta - rate * grad L(theta, w)) / dw`, a validation batch at a time.

    Args:
        temperature: whether the temperature of each term that has one is learned too.
        learning_rate: of Adam, which moves what is learned.
        ahead_rate, exact, every: see `Looking`.
        all_terms: see `Weighing`.

    Raises:
        ValueError: a setting is out of range.
    """

    def __init__(
        self,
        *,
        temperature: bool = False,
        learning_rate: float = 0.01,
        ahead_rate: float = 0.1,
        exact: Exact = "auto",
        every: int = 1,
        all_terms: bool = True,
    ) -> None:
        super().__init__(all_terms=all_terms)
        self.looking = Looking(ahead_rate=ahead_rate, exact=exact, every=every)
        self.temperature, self.learning_rate = temperature, positive("learning_rate", learning_rate)

    def check(self, parties: Parties) -> None:
        """There is a validation part, and something to learn.

        Raises:
            ValueError: there is none, or a term alone, or no temperature where it is asked for.
        """
        self.looking.check(parties, f"ahead_rate={self.looking.ahead_rate:g}")
        if not self.temperature:
            super().check(parties)
        elif not tempered(parties.objective):
            raise ValueError("temperature=true: no term has one that no schedule moves; expected one, such as loss=kd")

    def learns(self) -> str:
        """Weights, and temperatures where they are asked for."""
        what = "the weights and temperatures of the terms" if self.temperature else "the weights of the terms"
        return f"{what}, {BY_A_STEP}"

    def step(self, training: Training) -> Step:
        """As plain distillation, with a look ahead before each step."""
        return Ahead(
            training,
            self.looking,
            tempered(training.objective) if self.temperature else (),
            learning_rate=self.learning_rate,
            all_terms=self.all_terms,
        )


def tempered(objective: Objective) -> tuple[str, ...]:
    """The terms with a temperature that is a number of their own."""
    return tuple(
        name
        for name, term in objective.terms.items()
        if isinstance(getattr(term.loss, "temperature", None), float)
        and (name, "temperature") not in objective.scheduled
    )


class Ahead(Weighted):
    """The step of `LookAhead`.

    Args:
        training: with a validation part.
        looking: how.
        warm: the terms whose temperature is learned.
        learning_rate, all_terms: see `LookAhead`.
        moved: the terms whose weight is learned; None: all that take part.
    """

    def __init__(
        self,
        training: Training,
        looking: Looking,
        warm: Sequence[str],
        *,
        learning_rate: float,
        all_terms: bool,
        moved: Sequence[str] | None = None,
    ) -> None:
        super().__init__(training, all_terms=all_terms)
        self.warm, self.moved = tuple(warm), self.weighed if moved is None else tuple(moved)
        given = [math.log(float(self._loss(name).temperature)) for name in warm]
        self.learned = Learned(torch.tensor([0.0] * len(self.moved) + given), learning_rate)
        self.horizon = Horizon(self, training, looking)

    def attach(self, device: torch.device) -> None:
        """What is learned, and the validation part, come to this device."""
        super().attach(device)
        self.learned.attach(device)
        self.horizon.held_out.feed.to(device)

    def release(self) -> None:
        """Temperatures are numbers again."""
        super().release()
        for name in self.warm:
            self._loss(name).temperature = float(self._loss(name).temperature)

    def at_step(self, step: int, total_steps: int) -> None:
        """Set what is scheduled; a look is due, or not."""
        super().at_step(step, total_steps)
        self.horizon.at_step(step)
        self._warm(self.learned.values.detach())

    def factors(self) -> Factors:
        """K softmax(v)."""
        return self.factors_of(self.learned.values.detach())

    def weigh(self, batch: Batch, own: Outputs, taught: Outputs | None) -> LossTerms:
        """Look ahead, then weigh."""
        if self.horizon.is_due():
            found = self.horizon.gradient(lambda said: self._total(batch, said, taught), batch, [self.learned.values])
            self.learned.move(*meant(found))
            self._bound()
            self._warm(self.learned.values.detach())
        return super().weigh(batch, own, taught)

    def readings(self) -> dict[str, float]:
        """The temperatures beside the weights."""
        theirs = self.learned.values.detach()[len(self.moved) :].exp().tolist()
        return super().readings() | {f"{n}_temperature": t for n, t in zip(self.warm, theirs, strict=True)}

    def factors_of(self, values: Tensor) -> Factors:
        """The same of these v, whose graph it keeps."""
        count = len(self.moved)
        return dict(zip(self.moved, count * values[:count].softmax(0), strict=True))

    def _total(self, batch: Batch, own: Outputs, taught: Outputs | None) -> Tensor:
        """The objective with what is learned in its graph."""
        values = self.learned.values
        self._warm(values)
        return terms_of(self, own, taught, batch, self.weights(self.factors_of(values))).total

    def _warm(self, values: Tensor) -> None:
        for name, one in zip(self.warm, values[len(self.moved) :], strict=True):
            self._loss(name).temperature = one.exp()

    def _loss(self, name: str) -> Any:
        """With a temperature that may be a tensor meanwhile."""
        return self.objective.terms[name].loss

    def _bound(self) -> None:
        with torch.no_grad():
            self.learned.values[len(self.moved) :].clamp_(math.log(COLDEST), math.log(HOTTEST))
