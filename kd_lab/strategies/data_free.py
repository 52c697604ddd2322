"""Distillation without data: a generator learns to make samples from what the teacher says of them.

Sources: DAFL, Chen et al. 2019 (arXiv:1904.01186): `one_hot + activation + balance`; ZSKT,
Micaelli and Storkey 2019 (arXiv:1905.09768): `adversarial` alone, a step of the generator for ten of the
student; DFQ, Choi et al. 2020 (arXiv:2005.04136): `adversarial + statistics + one_hot + balance`. Their weights on
CIFAR-10 are those of Fang et al. 2021 (arXiv:2105.08584), whose code has all three. Legend: B batch, K classes.
"""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn import functional as F

from kd_lab import names
from kd_lab.analysis.figures.networks import pictures
from kd_lab.inputs import call
from kd_lab.models.common.fitted import Fitted
from kd_lab.seeds import mixed
from kd_lab.strategies.common.asked import Watched
from kd_lab.strategies.common.generators import Generator
from kd_lab.strategies.common.strategy import Parties, Strategy, Training
from kd_lab.teachers.frozen import FrozenTeacher
from kd_lab.training.distiller import Distiller
from kd_lab.types import UNLABELLED, Batch, LossTerms, Outputs, Step

Method = Literal["dafl", "zskt", "dfq"]
WEIGHTS: Mapping[str, Mapping[str, float]] = {
    "dafl": {"one_hot": 1.0, "activation": 0.001, "balance": 20.0},
    "zskt": {"adversarial": 1.0},
    "dfq": {"adversarial": 1.0, "statistics": 1.0, "one_hot": 1.0, "balance": 20.0},
}
"""Of the parts of a generator's loss, by method; see `generator_loss`."""
SHOWN = 64
"""So many samples are kept as a picture."""
RANGE_OF = 256
"""So many samples say between which values a sample lies; nothing else is taken of the data."""


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
        self.method, self.every, self.learning_rate, self.noise = method, every, learning_rate, noise

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
        return FromNoise(training, self)

    def described(self, teacher: str, student: str, links: tuple[str, ...]) -> str:  # noqa: ARG002
        """What is made, and from what."""
        parts = " + ".join(f"{weight:g} {name}" for name, weight in WEIGHTS[self.method].items())
        return f"the student {student} learns from {teacher} on samples that a generator makes ({self.method}: {parts})"


class FromNoise(Distiller):
    """Batches of the data are counted and not looked at: as many samples are made.

    Args:
        training: with one teacher.
        settings: the strategy.
    """

    def __init__(self, training: Training, settings: DataFree) -> None:
        super().__init__(training.network, training.objective, compiled=training.compiled)
        (module,) = training.networks
        self.frozen, self.settings, self.seed = FrozenTeacher(module), settings, training.seed
        self._watched = Watched(module, training.data.num_classes)
        example = training.data.example(RANGE_OF)
        assert isinstance(example, Tensor)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(mixed(training.seed, 1) >> 1)
            made = Generator(tuple(example.shape[1:]), settings.noise, float(example.min()), float(example.max()))
        self._made = (made,)  # in a tuple: the training's optimizer does not move it
        self._optimizer = torch.optim.Adam(made.parameters(), lr=settings.learning_rate)
        self._step, self._losses = 0, dict.fromkeys(WEIGHTS[settings.method], 0.0)

    @property
    def generator(self) -> Generator:
        """What makes the samples."""
        return self._made[0]

    def attach(self, device: torch.device) -> None:
        """Teacher and generator come to this device."""
        super().attach(device)
        self.frozen.attach(device)
        self._watched.attach()
        self.generator.to(device)
        self._optimizer.load_state_dict(self._optimizer.state_dict())  # its state follows the parameters

    def release(self) -> None:
        """Take the hooks off all networks again."""
        super().release()
        self._watched.remove()
        self.frozen.release()

    def at_step(self, step: int, total_steps: int) -> None:
        """Set what is scheduled; the noise follows from the step."""
        super().at_step(step, total_steps)
        self._step = step

    def forward(self, batch: Batch) -> LossTerms:
        """The terms of the loss on samples of which none has a label."""
        count = len(batch.targets)
        if self._step % self.settings.every == 0:
            self._improve(count)
        with torch.no_grad():
            inputs = self.generator(self.drawn(count, 0))
            taught = Outputs(self._watched(inputs)[0])
        made = Batch(inputs, torch.full_like(batch.targets, UNLABELLED), batch.index, share=batch.share)
        terms: LossTerms = self.objective(Outputs(call(self.network, inputs)), taught, made)
        return terms

    def drawn(self, count: int, purpose: int) -> Tensor:
        """Noise [count, L] of this step."""
        random = torch.Generator().manual_seed(mixed(self.seed, self._step, purpose) >> 1)
        device = next(self.generator.parameters()).device
        return torch.randn(count, self.settings.noise, generator=random).to(device)

    def _improve(self, count: int) -> None:
        """A step of the generator."""
        self.generator.train()
        inputs = self.generator(self.drawn(count, 1))
        logits, statistics, activation = self._watched(inputs)
        weights = WEIGHTS[self.settings.method]
        student = call(self.network, inputs) if "adversarial" in weights else None
        parts = generator_loss(logits, student, statistics, activation)
        total = torch.stack([weights[name] * parts[name] for name in weights]).sum()
        trained = list(self.generator.parameters())
        for parameter, gradient in zip(trained, torch.autograd.grad(total, trained), strict=True):
            parameter.grad = gradient
        self._optimizer.step()
        self._losses = {name: float(parts[name].detach()) for name in weights}

    def readings(self) -> dict[str, float]:
        """The parts of the generator's loss, before their weights."""
        return {**super().readings(), **{f"generator_{name}": value for name, value in self._losses.items()}}

    def figures(self) -> Mapping[str, Figure]:
        """Some samples, where they are pictures."""
        with torch.no_grad():
            made: Tensor = self.generator.eval()(self.drawn(SHOWN, 2))
        if made.ndim != 4:
            return {}
        title = "samples that the student was taught on at the end"
        return {names.ARTIFACT_SAMPLES: pictures(made.movedim(1, -1).cpu().numpy(), title)}

    def get_extra_state(self) -> dict[str, Any]:
        """The generator's part of the state."""
        return {"generator": self.generator.state_dict(), "optimizer": self._optimizer.state_dict()}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """What `get_extra_state` gave."""
        self.generator.load_state_dict(state["generator"])
        self._optimizer.load_state_dict(state["optimizer"])


def generator_loss(
    teacher_BK: Tensor, student_BK: Tensor | None, statistics: Tensor, activation: Tensor
) -> dict[str, Tensor]:
    """The parts of what a generator minimises, scalars by name.

    one_hot: cross-entropy of the teacher with its own answer, nats (DAFL). activation: minus the mean of
    what its classifier is given, in absolute value (DAFL). balance: minus the entropy of its mean answer, nats
    (DAFL). statistics: see `Watched`. adversarial: minus KL(teacher || student), nats (ZSKT).

    Args:
        teacher_BK: its logits.
        student_BK: the student's logits, or None where nothing is adversarial.
        statistics: scalar.
        activation: scalar.
    """
    log_BK = teacher_BK.log_softmax(dim=1)
    mean_K = log_BK.exp().mean(dim=0)
    parts = {
        "one_hot": F.nll_loss(log_BK, teacher_BK.argmax(dim=1)),
        "activation": -activation,
        "balance": torch.special.xlogy(mean_K, mean_K).sum(),
        "statistics": statistics,
    }
    if student_BK is not None:
        parts["adversarial"] = -F.kl_div(student_BK.log_softmax(dim=1), log_BK, log_target=True, reduction="batchmean")
    return parts
