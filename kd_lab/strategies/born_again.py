"""Born-again networks: generations of the student's own network, each taught by the one before it.

Source: Furlanello et al. 2018 (arXiv:1805.04770), section 3: the first generation learns from the teacher, each further
one, from other initial weights, from the generation before it; the ensemble of all generations is theirs too.
Differs: the loss is the job's; theirs is kd at a temperature of 1.
"""

from kd_lab.strategies.common.strategy import TEACHER, Link, Strategy


class BornAgain(Strategy):
    """The student is the last of several generations of one network.

    With `teacher=none` the first generation learns from the labels alone, which is the paper's own setting: it is the
    teacher there.

    Args:
        generations: how many networks are trained one after the other, the student among them.
        ensemble: whether the mean probability of all generations is measured too, as a number of its own; it costs as
            many passes as there are generations wherever it is deployed.

    Raises:
        ValueError: there are fewer than two generations.
    """

    def __init__(self, *, generations: int = 3, ensemble: bool = True) -> None:
        if generations < 2:
            raise ValueError(f"Expected `generations` to be 2 or more (one is strategy=none), but got {generations}.")
        self.generations, self.measures_together = generations, ensemble

    def links(self) -> tuple[Link, ...]:
        """All generations but the student; each belongs to the student's seed."""
        before_it = range(TEACHER, self.generations - 1)
        return tuple(Link(None, (number,), follows_seed=True, or_labels=number == TEACHER) for number in before_it)

    def taught_by(self) -> tuple[int, ...]:
        """The generation before the last."""
        return (self.generations - 1,)
