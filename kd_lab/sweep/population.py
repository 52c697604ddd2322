"""The choices of population-based training: who goes on with whose network, and with which values.

Source: Jaderberg et al. 2017 (arXiv:1711.09846): exploit by truncation selection, explore by perturbation. All follows
from the seed and the scores.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kd_lab.errors import UserError
from kd_lab.job.search_settings import Dimension, PopulationSettings
from kd_lab.sweep.trials import rounded

Values = dict[str, float]


@dataclass(frozen=True)
class Member:
    """What one of the population does in one round.

    parent: whose network of the round before it goes on with; its own, unless it was one of the worst. values: by key.
    """

    parent: int
    values: Values


def check_dimensions(dimensions: Mapping[str, Dimension]) -> None:
    """Raise a UserError for a dimension that has nothing between two of its values."""
    for key, dimension in dimensions.items():
        if dimension.choices is not None or dimension.whole or dimension.step is not None:
            raise UserError(
                f"{key}: sweep=pbt multiplies values, so it cannot search choices, steps or whole numbers; expected a "
                f"range such as '{key}=interval(1.0,20.0)', or a fixed value"
            )


@dataclass(frozen=True)
class Rules:
    """How a population is drawn and changed. dimensions: of the space, by key. seed: of the search."""

    dimensions: Mapping[str, Dimension]
    settings: PopulationSettings
    seed: int

    def first(self) -> list[Member]:
        """The members of the first round: values at random, evenly over the range, or over its logarithm."""
        draw = np.random.default_rng([self.seed, 0])
        return [
            Member(number, {key: _drawn(dimension, draw) for key, dimension in self.dimensions.items()})
            for number in range(self.settings.population)
        ]

    def following(self, number: int, members: Sequence[Member], scores: Sequence[float | None]) -> list[Member]:
        """The members of the next round.

        Each of the worst becomes one of the best, by chance, with values that are perturbed; all others go on as they
        are.

        Args:
            number: of the next round, from 1.
            members: of the round before.
            scores: theirs, larger is better; None of one whose loss stopped being finite, which is always replaced. One
                of them at least is a number. Of equal ones the first is better.
        """
        draw = np.random.default_rng([self.seed, number])
        alive, size = ranked(scores), len(members)
        count = min(math.ceil(round(self.settings.truncation * size, 9)), size // 2)
        staying, found = {*alive[: size - count]}, []
        for own, member in enumerate(members):
            if own in staying:
                found.append(Member(own, member.values))
            else:
                parent = int(draw.choice(alive[:count]))
                found.append(Member(parent, self._perturbed(members[parent].values, draw)))
        return found

    def _perturbed(self, values: Values, draw: np.random.Generator) -> Values:
        factors = self.settings.perturb
        return {
            key: float(rounded(self.dimensions[key], value * float(draw.choice(factors))))
            for key, value in values.items()
        }


def ranked(scores: Sequence[float | None]) -> list[int]:
    """The members that have a score, the best first; of equal ones the first."""
    alive = [(-score, number) for number, score in enumerate(scores) if score is not None]
    return [number for _, number in sorted(alive)]


def lineage(rounds: Sequence[Sequence[Member]], member: int) -> list[int]:
    """Which member the network of one was in each round, up to the last."""
    found = [member]
    for members in reversed(rounds[1:]):
        found.append(members[found[-1]].parent)
    return found[::-1]


def history(rounds: Sequence[Sequence[Member]], member: int) -> list[Values]:
    """The values that the network of one member was trained with, round by round."""
    return [members[one].values for members, one in zip(rounds, lineage(rounds, member), strict=True)]


def _drawn(dimension: Dimension, draw: np.random.Generator) -> float:
    low, high = _ends(dimension)
    value = math.exp(draw.uniform(math.log(low), math.log(high))) if dimension.log else draw.uniform(low, high)
    return float(rounded(dimension, value))


def _ends(dimension: Dimension) -> tuple[float, float]:
    assert dimension.low is not None
    assert dimension.high is not None
    return float(dimension.low), float(dimension.high)
