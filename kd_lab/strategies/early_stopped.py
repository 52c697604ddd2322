"""Early-stopped distillation: a teacher from before its end, and a student that learns from labels at its end.

Source: Cho and Hariharan 2019 (arXiv:1910.01348), ESKD: distillation that ends before the training does, and a teacher
that is trained for fewer epochs.
Differs: the share of the teacher's steps shortens its schedule too, so that its rate comes to its end; both shares are
settings, whose defaults are ours.
"""

from kd_lab.models.common.fitted import Fitted
from kd_lab.strategies.common.strategy import Parties, Strategy, Taught, Training
from kd_lab.training.objective import HARD_WEIGHT
from kd_lab.types import Step


class EarlyStopped(Strategy):
    """The teacher takes a share of its steps, and teaches for a share of the student's.

    Args:
        teacher_share: of the steps of the teacher's recipe, above 0 up to 1.
        until: of the student's steps, above 0 up to 1. After it every soft term has weight 0 and the cross-entropy with
            the labels weight 1, whatever the loss gave it: a loss without hard labels would teach nothing any more. On
            a transfer set it is the mean over the labelled points of a batch. The teacher is asked to the end, so that
            the curves of the terms go on.

    Raises:
        ValueError: a share is out of range, or both are 1.
    """

    def __init__(self, *, teacher_share: float = 0.5, until: float = 0.75) -> None:
        for name, share in {"teacher_share": teacher_share, "until": until}.items():
            if not 0 < share <= 1:
                raise ValueError(f"Expected `{name}` to be in (0, 1], but got {share}.")
        if teacher_share == until == 1:
            raise ValueError("Expected `teacher_share` or `until` to be below 1 (both at 1 are strategy=none).")
        self.teacher_share, self.until = teacher_share, until

    def check(self, parties: Parties) -> None:
        """There are labels to end with, and the teacher is trained in steps.

        Raises:
            ValueError: the student sees no label, or the teacher is fitted at once.
        """
        if self.teacher_share < 1 and isinstance(parties.teacher, Fitted):
            raise ValueError(
                f"teacher_share={self.teacher_share}: the teacher is fitted at once; expected teacher_share=1"
            )
        if self.until < 1 and not bool((parties.data.targets[parties.data.transfer] >= 0).any()):
            raise ValueError(f"until={self.until}: no point of the transfer set has a label; expected until=1")

    def step(self, training: Training) -> Step:
        """As plain distillation, up to its end."""
        return super().step(training) if self.until == 1 else Ending(training, self.until)

    def described(self, teacher: str, student: str, links: tuple[str, ...]) -> str:
        """With what stops early."""
        early = f" of {self.teacher_share:.0%} of its steps" if self.teacher_share < 1 else ""
        told = f"{super().described(teacher, student, links)}{early}"
        if self.until == 1:
            return told
        return f"{told}, and after {self.until:.0%} of the student's from the labels alone, with weight 1"


class Ending(Taught):
    """Distils for a share of the steps, and learns from the labels alone for the rest.

    Args:
        training: with one teacher.
        until: the share, 0..1.
    """

    def __init__(self, training: Training, until: float) -> None:
        training.objective.show_hard()
        super().__init__(training)
        self.until = until

    def at_step(self, step: int, total_steps: int) -> None:
        """Set what is scheduled; the weights, once the lesson is over."""
        super().at_step(step, total_steps)
        if step >= round(self.until * total_steps):
            self.objective.hard_weight = 1.0
            self.objective.weights = dict.fromkeys(self.objective.weights, 0.0)

    def readings(self) -> dict[str, float]:
        """With the hard weight, whose jump is the end of the lesson."""
        return super().readings() | {HARD_WEIGHT: self.objective.hard_weight}
