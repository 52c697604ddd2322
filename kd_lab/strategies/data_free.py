"""Distillation without data: a generator learns to make samples from what the teacher says of them.

Sources: DAFL, Chen et al. 2019 (arXiv:1904.01186): `one_hot + activation + balance`; ZSKT,
Micaelli and Storkey 2019 (arXiv:1905.09768): `adversarial` alone, a step of the generator for ten of the
student; DFQ, Choi et al. 2020 (arXiv:2005.04136): `adversarial + statistics + one_hot + balance`. Their weights on
CIFAR-10 are those of Fang et al. 2021 (arXiv:2105.08584), whose code has all three.
"""

from collections.abc import Mapping
from typing import Literal

from torch import Tensor

from kd_lab.models.common.fitted import Fitted
from kd_lab.strategies.common.asked import Watched
from kd_lab.strategies.common.free.noise import FromNoise
from kd_lab.strategies.common.free.step import Making
from kd_lab.strategies.common.strategy import Parties, Strategy, Training
from kd_lab.types import Step

Method = Literal["dafl", "zskt", "dfq"]
WEIGHTS: Mapping[str, Mapping[str, float]] = {
    "dafl": {"one_hot": 1.0, "activation": 0.001, "balance": 20.0},
    "zskt": {"adversarial": 1.0},
    "dfq": {"adversarial": 1.0, "statistics": 1.0, "one_hot": 1.0, "balance": 20.0},
}
"""Of the parts of a generator's loss, by method; see `generator_loss` in common/free/noise.py."""


class DataFree(Strategy):
    """The student sees generated samples alone; the data serve to count steps, and to measure.

    Args:
        method: what the generator learns from.
        every: the student's steps to one of the generator.
        learning_rate: the generator's, of Adam.
        noise: how many numbers a sample is made from.

    Raises:
        ValueError: a number is out of range.
    """

    asks_rows = False

    def __init__(
        self, method: Method = "dafl", *, every: int = 1, learning_rate: float = 1e-3, noise: int = 100
    ) -> None:
        for name, value in {"every": every, "learning_rate": learning_rate, "noise": noise}.items():
            if not value > 0:
                raise ValueError(f"Expected `{name}` to be > 0, but got {value}.")
        self.method, self.making = method, Making(WEIGHTS[method], every, learning_rate, noise)

    def check(self, parties: Parties) -> None:
        """A gradient passes the teacher, and the loss asks for nothing that a made sample has not.

        Raises:
            ValueError: the teacher or the samples are such that none passes; the loss compares layers or remembers
                samples; the method reads BatchNorm, and the teacher has none.
        """
        teacher = parties.teacher
        if isinstance(teacher, Fitted):
            raise ValueError(
                "method: a gradient has to pass the teacher, and one that is fitted lets none; choose a CNN"
            )
        example = parties.data.example(1)
        if not isinstance(example, Tensor) or not example.is_floating_point():
            raise ValueError("method: samples are made as numbers between two bounds, and these are no such numbers")
        if parties.compares_layers:
            raise ValueError("method: expected a loss of logits, such as loss=kd, but the loss compares layers")
        for name, term in parties.objective.terms.items():
            if term.loss.has_memory or term.view_slots:
                raise ValueError(f"method: loss={name} knows samples again, and no sample is made twice")
        reads = WEIGHTS[self.method].get("statistics", 0.0)
        assert teacher is not None, "a loss asks it"
        if reads and not Watched(teacher, parties.data.num_classes).norms:
            raise ValueError(
                f"method={self.method}: reads what BatchNorm layers remember, and the teacher has none; expected dafl "
                "or zskt"
            )

    def step(self, training: Training) -> Step:
        """The generator's step, then the student's."""
        return FromNoise(training, self.making)

    def described(self, teacher: str, student: str, links: tuple[str, ...]) -> str:  # noqa: ARG002
        """What is made, and from what."""
        parts = " + ".join(f"{weight:g} {name}" for name, weight in WEIGHTS[self.method].items())
        return f"the student {student} learns from {teacher} on samples that a generator makes ({self.method}: {parts})"
