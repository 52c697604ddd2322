"""A student that several teachers teach at once: every soft term is the mean over them."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from kd_lab.seeds import mixed
from kd_lab.strategies.common.strategy import Training
from kd_lab.training.distiller import Distiller
from kd_lab.types import Batch, LossTerms, Outputs, Teacher


class SeveralTeachers(Distiller):
    """A step in which several teach: they come to the device and leave it. What they say is made of use by others."""

    def __init__(self, training: Training) -> None:
        super().__init__(training.network, training.objective, taps=training.taps, compiled=training.compiled)
        self.teachers = training.teachers
        self.seed = training.seed
        self._step = 0

    def attach(self, device: torch.device) -> None:
        """All teachers come to this device."""
        super().attach(device)
        for teacher in self.teachers:
            teacher.attach(device)

    def release(self) -> None:
        """Take the hooks off all networks again."""
        super().release()
        for teacher in self.teachers:
            teacher.release()

    def at_step(self, step: int, total_steps: int) -> None:
        """Set what is scheduled; who is asked may change with the step."""
        super().at_step(step, total_steps)
        self._step = step

    def drawn(self) -> Tensor:
        """A number 0..1 for each teacher [M], which follows from the training's seed and the number of the step."""
        generator = torch.Generator().manual_seed(mixed(self.seed, self._step) >> 1)
        return torch.rand(len(self.teachers), generator=generator)


class EachTeacher(SeveralTeachers):
    """`hard_weight * CE + sum_i weight_i * mean_m loss_i(student, teacher_m)`.

    Args:
        training: with its teachers.
        drop: the share of the teachers that is left out of each step by chance, 0..1; one always stays. Who stays
            follows from the training's seed and the number of the step.
    """

    def __init__(self, training: Training, drop: float = 0.0) -> None:
        super().__init__(training)
        self.drop = drop

    def forward(self, batch: Batch) -> LossTerms:
        """Hard-label cross-entropy and soft terms, each by name, the mean over the teachers that are asked."""
        own = self.answers(batch)
        said = [teacher(batch) for teacher in self.asked()]
        each: list[LossTerms] = [self.objective(own, one, batch) for one in said]
        return together(each, self.shares(own, each, batch), said)

    def asked(self) -> list[Teacher]:
        """Those that teach at this step."""
        if not self.drop:
            return list(self.teachers)
        drawn = self.drawn()
        kept = [teacher for teacher, number in zip(self.teachers, drawn, strict=True) if number >= self.drop]
        return kept or [self.teachers[int(drawn.argmax())]]

    def shares(self, own: Outputs, each: Sequence[LossTerms], batch: Batch) -> Tensor | None:  # noqa: ARG002
        """How much the loss to each that was asked counts [M], of sum 1; None: all alike."""
        return None


def together(each: Sequence[LossTerms], shares_M: Tensor | None, said: Sequence[Outputs]) -> LossTerms:
    """The losses to several teachers as one, and their largest logit.

    shares_M: how much each counts, of sum 1; None: the mean.
    """

    def one_of(values: list[Tensor]) -> Tensor:
        stacked = torch.stack(values)
        return stacked.mean(dim=0) if shares_M is None else shares_M.to(stacked) @ stacked

    first = each[0]
    return replace(
        first,
        total=one_of([one.total for one in each]),
        terms={name: one_of([one.terms[name] for one in each]) for name in first.terms},
        teacher_top=top(said),
    )


def top(said: Sequence[Outputs]) -> Tensor:
    """The largest logit of all, a scalar: not finite where one is NaN or infinite."""
    return torch.stack([one.logits.max() for one in said]).max()
