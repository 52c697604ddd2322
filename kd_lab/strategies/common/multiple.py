"""A student that several teachers teach at once: every soft term is the mean over them."""

from dataclasses import replace

import torch
from torch import Tensor

from kd_lab.seeds import mixed
from kd_lab.strategies.common.strategy import Training
from kd_lab.training.distiller import Distiller
from kd_lab.types import Batch, LossTerms, Teacher


class EachTeacher(Distiller):
    """`hard_weight * CE + sum_i weight_i * mean_m loss_i(student, teacher_m)`.

    Args:
        training: with its teachers.
        drop: the share of the teachers that is left out of each step by chance, 0..1; one always stays. Who stays
            follows from the training's seed and the number of the step.
    """

    def __init__(self, training: Training, drop: float = 0.0) -> None:
        super().__init__(training.network, training.objective, taps=training.taps, compiled=training.compiled)
        self.teachers = training.teachers
        self.drop, self.seed = drop, training.seed
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
        """Set what is scheduled; who is asked changes with the step."""
        super().at_step(step, total_steps)
        self._step = step

    def forward(self, batch: Batch) -> LossTerms:
        """Hard-label cross-entropy and soft terms, each by name, the mean over the teachers that are asked."""
        own = self.answers(batch)
        said = [teacher(batch) for teacher in self.asked()]
        each: list[LossTerms] = [self.objective(own, one, batch) for one in said]
        first = each[0]
        return replace(
            first,
            total=_mean([one.total for one in each]),
            terms={name: _mean([one.terms[name] for one in each]) for name in first.terms},
            teacher_top=torch.stack([one.logits.max() for one in said]).max(),
        )

    def asked(self) -> list[Teacher]:
        """Those that teach at this step."""
        if not self.drop:
            return list(self.teachers)
        drawn = torch.rand(
            len(self.teachers), generator=torch.Generator().manual_seed(mixed(self.seed, self._step) >> 1)
        )
        kept = [teacher for teacher, number in zip(self.teachers, drawn, strict=True) if number >= self.drop]
        return kept or [self.teachers[int(drawn.argmax())]]


def _mean(values: list[Tensor]) -> Tensor:
    return torch.stack(values).mean(dim=0)
