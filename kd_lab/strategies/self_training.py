"""Self-training: the student's own pseudo-labels, the control that a gain on a transfer set needs.

A first network of the student's kind learns from the labels alone, and teaches the student on the transfer set by the
job's loss. What a student gains so, it owes to the unlabelled points and to being trained twice, and to no teacher: a
teacher is worth what it brings beyond that. The job's teacher, where there is one, stands beside and teaches nothing.

Source: Lee 2013, Pseudo-Label (ICML workshop), for labels of one's own; with soft ones, as any loss of this framework
asks for, see Xie et al. 2020 (arXiv:1911.04252), section 2.
Differs: one round, neither noise nor a threshold of confidence; `loss=hard_label` has pseudo-labels proper.
"""

from kd_lab.strategies.common.strategy import LABELS, Link, Strategy


class SelfTraining(Strategy):
    """The student is taught by a network of its own kind that knows the labels alone."""

    def links(self) -> tuple[Link, ...]:
        """The first network: as many steps as the student, from the labels."""
        return (Link(None, (), follows_seed=True),)

    def taught_by(self) -> tuple[int, ...]:
        """The first network."""
        return (1,)

    def described(self, teacher: str, student: str, links: tuple[str, ...]) -> str:
        """With what the job's teacher does not do."""
        told = super().described(teacher, student, links)
        return told if teacher == LABELS else f"{told}; {teacher} teaches nobody"
