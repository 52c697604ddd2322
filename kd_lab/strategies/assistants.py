"""Teacher assistants: networks of a size between teacher and student, each taught before it teaches.

Sources: Mirzadeh et al. 2020 (arXiv:1902.03393), section 3, TAKD: each link of the chain learns from the one before it;
Son et al. 2021 (arXiv:2009.08825), section 3.1, DGKD: each learns from all before it, and in each batch some of these
are left out by chance (their equation 4 and section 3.2).
"""

import itertools
from collections.abc import Sequence

from torch import nn

from kd_lab.strategies.common.multiple import EachTeacher
from kd_lab.strategies.common.strategy import TEACHER, Link, Node, Parties, Strategy, Training
from kd_lab.types import Step


class Assistants(Strategy):
    """The student learns from the last of a chain of ever smaller networks, or from all of it.

    Mirzadeh et al. found an assistant best whose accuracy, not whose size, lies half-way between teacher and student.

    Args:
        path: the assistants, the largest first.
        dense: whether each learns from all before it.
        drop: of these, the share that is left out of each batch by chance, 0..1; one always stays. Only where `dense`.

    Raises:
        ValueError: there is no assistant, or `drop` is out of range or given without `dense`.
    """

    def __init__(self, path: Sequence[Node], *, dense: bool = False, drop: float = 0.0) -> None:
        if not path:
            raise ValueError("Expected `path` to be one network or more, such as [mlp_64], but got [].")
        if not 0 <= drop < 1:
            raise ValueError(f"Expected `drop` to be in [0, 1), but got {drop}.")
        if drop and not dense:
            raise ValueError(f"Expected `drop` to be 0 where one network teaches (dense=false), but got {drop}.")
        self.path, self.dense, self.drop = tuple(path), dense, drop

    def links(self) -> tuple[Link, ...]:
        """Each learns from the one before it, or from all."""
        return tuple(Link(node, self._before(i + 1)) for i, node in enumerate(self.path))

    def taught_by(self) -> tuple[int, ...]:
        """The last assistant, or all and the teacher."""
        return self._before(len(self.path) + 1)

    def _before(self, number: int) -> tuple[int, ...]:
        return tuple(range(TEACHER, number)) if self.dense else (number - 1,)

    def check(self, parties: Parties) -> None:
        """They become smaller from one to the next; losses of layers are bound to one network.

        Raises:
            ValueError: one is not smaller than what teaches it, or not larger than the student; layers of several
                networks would be compared.
        """
        if self.dense and parties.compares_layers:
            raise ValueError("dense=true: a loss of layers is bound to one network; expected a loss of logits.")
        assert parties.teacher is not None, "an assistant is taught"
        names = ["the teacher", *(f"assistant {i}" for i in range(1, len(parties.links) + 1)), "the student"]
        sizes = [_size(network) for network in (parties.teacher, *parties.links, parties.student)]
        for (larger, more), (smaller, fewer) in itertools.pairwise(zip(names, sizes, strict=True)):
            if more and fewer >= more:  # what is fitted has none
                raise ValueError(
                    f"path: {smaller} has {fewer:,} parameters, not fewer than {larger} with {more:,}; expected "
                    "networks that become smaller from teacher to student"
                )

    def step(self, training: Training) -> Step:
        """As plain distillation, or with the mean over all that teach."""
        if len(training.teachers) == 1:
            return super().step(training)
        return EachTeacher(training, drop=self.drop)


def _size(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())
