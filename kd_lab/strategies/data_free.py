"""Distillation without data: samples are made by what the teacher says of them, and the student sees no others.

Sources: DAFL, Chen et al. 2019 (arXiv:1904.01186): `one_hot + activation + balance`; ZSKT,
Micaelli and Storkey 2019 (arXiv:1905.09768): `adversarial` alone, a step of the generator for ten of the
student; DFQ, Choi et al. 2020 (arXiv:2005.04136): `adversarial + statistics + one_hot + balance`. DeepInversion, Yin et
al. 2020 (arXiv:1912.08795), with its competition, and CMI, Fang et al. 2021 (arXiv:2105.08584), fill a bank in rounds:
see `common/free/inversion.py` and `contrast.py`. The weights of all on CIFAR-10 are those of Fang et al. 2021, whose
code has all five; their rounds are longer and rarer: 1000 steps for 400 of the student, and 200 for 2000.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from torch import Tensor

from kd_lab.models.common.fitted import Fitted
from kd_lab.strategies.common.asked import Watched
from kd_lab.strategies.common.free.contrast import Contrastive
from kd_lab.strategies.common.free.inversion import DeepInversion
from kd_lab.strategies.common.free.noise import FromNoise
from kd_lab.strategies.common.free.step import FromMade, Making
from kd_lab.strategies.common.strategy import Parties, Strategy, Training
from kd_lab.types import Step

Name = Literal["dafl", "zskt", "dfq", "deep_inversion", "cmi"]


@dataclass(frozen=True)
class Method:
    """What makes the samples, its own settings, and how it is told."""

    step: Callable[[Training, Making], FromMade]
    making: Making
    told: str = "that a generator makes"


def _by_generator(**weights: float) -> Method:
    return Method(FromNoise, Making(weights, every=1, learning_rate=1e-3, noise=100))


METHODS: Mapping[Name, Method] = {
    "dafl": _by_generator(one_hot=1.0, activation=0.001, balance=20.0),
    "zskt": _by_generator(adversarial=1.0),
    "dfq": _by_generator(adversarial=1.0, statistics=1.0, one_hot=1.0, balance=20.0),
    "deep_inversion": Method(
        DeepInversion,
        Making(
            {"one_hot": 1.0, "statistics": 10.0, "adversarial": 1.0, "variation": 16 * 2.5e-5, "l2": 1e-5},
            every=200,
            learning_rate=0.1,
            inner_steps=200,
            samples=128,
            bank=4096,
        ),
        "that are optimised until it knows them",
    ),
    "cmi": Method(
        Contrastive,
        Making(
            {"one_hot": 0.5, "statistics": 1.0, "adversarial": 0.5, "contrast": 0.8},
            every=200,
            learning_rate=1e-3,
            noise=256,
            inner_steps=200,
            samples=128,
            bank=4096,
        ),
        "that a new generator makes each time, unlike those before",
    ),
}
BY_BATCHNORM = ("statistics", "contrast")
"""Parts that read what BatchNorm layers remember, or are given."""


class DataFree(Strategy):
    """The student sees samples that were made alone; the data serve to count steps, and to measure.

    Args:
        method: what samples are made by. The numbers after it are the method's own where they are None.
        every: the student's steps to one of the generator, or to one round.
        learning_rate: of Adam, which moves the generator, or the inputs in a unit of a quarter of their range.
        noise: how many numbers a sample is made from.
        inner_steps: of a round.
        samples: made in a round.
        bank: how many samples are kept, the newest.

    Raises:
        ValueError: a number is out of range, or the method has none such.
    """

    asks_rows = False

    def __init__(
        self,
        method: Name = "dafl",
        *,
        every: int | None = None,
        learning_rate: float | None = None,
        noise: int | None = None,
        inner_steps: int | None = None,
        samples: int | None = None,
        bank: int | None = None,
    ) -> None:
        self.method, self.making = method, METHODS[method].making
        rounds = {"inner_steps": inner_steps, "samples": samples, "bank": bank}
        named: dict[str, Any] = {"every": every, "learning_rate": learning_rate, "noise": noise, **rounds}
        given = {name: value for name, value in named.items() if value is not None}
        for name, value in given.items():
            if not getattr(self.making, name):
                raise ValueError(f"Expected `{name}` to be null, as method={method} has none, but got {value}.")
            if not value > 0:
                raise ValueError(f"Expected `{name}` to be > 0, but got {value}.")
        self.making = replace(self.making, **given)
        if self.making.bank < self.making.samples:
            raise ValueError(f"Expected `bank` to be >= samples={self.making.samples}, but got {self.making.bank}.")

    def check(self, parties: Parties) -> None:
        """A gradient passes the teacher, and the loss asks for nothing that a made sample has not.

        Raises:
            ValueError: the teacher or the samples are such that none passes; the loss compares layers or remembers
                samples; the method reads BatchNorm, and the teacher has none; it crops pictures, and there are none.
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
                raise ValueError(f"method: loss={name} knows rows of the data again, and no sample that is made is one")
        assert teacher is not None, "a loss asks it"
        reads = any(part in self.making.weights for part in BY_BATCHNORM)
        if reads and not Watched(teacher, parties.data.num_classes).norms:
            raise ValueError(
                f"method={self.method}: reads what BatchNorm layers remember, and the teacher has none; expected dafl "
                "or zskt"
            )
        if "contrast" in self.making.weights and example.ndim != 4:
            raise ValueError(
                f"method={self.method}: compares two crops of a picture, and a sample has shape "
                f"{list(example.shape[1:])}; expected another method, such as deep_inversion"
            )

    def step(self, training: Training) -> Step:
        """Samples are made, then the student learns from some."""
        return METHODS[self.method].step(training, self.making)

    def described(self, teacher: str, student: str, links: tuple[str, ...]) -> str:  # noqa: ARG002
        """What is made, and by what."""
        parts = " + ".join(f"{weight:g} {name}" for name, weight in self.making.weights.items())
        told = METHODS[self.method].told
        return f"the student {student} learns from {teacher} on samples {told} ({self.method}: {parts})"
