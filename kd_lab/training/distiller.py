"""What a network does with a batch when it is distilled, or trained on hard labels alone: the `Step` of both."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from kd_lab.inputs import Inputs, call
from kd_lab.insight.taps import Tap, Taps
from kd_lab.training.objective import Objective
from kd_lab.types import Batch, LossTerms, Outputs, Teacher


class Distiller(nn.Module):
    """`network` learns from a batch for the objective; with a teacher, from what the teacher answers too.

    The teacher is neither among the parameters nor in a checkpoint. compiled: while it is attached, the network runs as
    torch.compile made it.
    """

    def __init__(
        self,
        network: nn.Module,
        objective: Objective,
        *,
        teacher: Teacher | None = None,
        taps: Sequence[Tap] = (),
        compiled: bool = False,
    ) -> None:
        super().__init__()
        self.network = network
        self.objective = objective
        self.teacher = teacher
        self.taps = Taps(network, taps)
        self._compiled = compiled

    def attach(self, device: torch.device) -> None:
        """The teacher comes to this device; both networks' layers are listened to."""
        if self.teacher is not None:
            self.teacher.attach(device)
        self.taps.attach()
        if self._compiled:
            self.network.compile()  # in place: no module has another name

    def release(self) -> None:
        """Take the hooks off both networks again."""
        self.taps.remove()
        if self._compiled:
            self.network._compiled_call_impl = None  # torch has no way back
        if self.teacher is not None:
            self.teacher.release()

    def forward(self, batch: Batch) -> LossTerms:
        """Hard-label cross-entropy and soft terms, each by name."""
        taught = None if self.teacher is None else self.teacher(batch)
        terms: LossTerms = self.objective(self.answers(batch), taught, batch)
        return terms if taught is None else replace(terms, teacher_top=taught.logits.max())

    def answers(self, batch: Batch) -> Outputs:
        """What the network says: logits, features, and the logits of each view."""
        logits = self.said(batch.inputs)
        features = self.taps.take(batch.inputs)
        return Outputs(logits, features, tuple(map(self.said, batch.views)))

    def said(self, inputs: Inputs) -> Tensor:
        """The logits [B, K] of one forward pass."""
        logits: Tensor = call(self.network, inputs)
        return logits

    def at_step(self, step: int, total_steps: int) -> None:
        """Set what is scheduled to its value for this optimizer step, 0 for the first."""
        self.objective.at_step(step, total_steps)

    def readings(self) -> dict[str, float]:
        """What is worth a curve beside the terms."""
        return self.objective.readings()

    def own_buffers(self) -> list[str]:
        """What DDP must not send at every step: memories of losses, which are the same on all ranks by themselves."""
        return [
            f"objective.losses.{name}.{key}"
            for name, term in self.objective.terms.items()
            if term.loss.has_memory
            for key, _ in term.loss.named_buffers()
        ]

    def followed(self) -> Mapping[str, nn.Module]:
        """What is followed on the validation part beside the network, inputs to logits, by name."""
        return {}
