"""A generator that learns beside the student: DAFL, ZSKT, DFQ. Legend: B batch, K classes.

Where several processes train, each of them moves a generator of its own by the samples of all, so that these stay the
same, and shows the student its share of them.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from kd_lab.inputs import call
from kd_lab.losses.common.gather import standing
from kd_lab.strategies.common.free.step import SHOWN, FromMade, Making
from kd_lab.strategies.common.generators import Generator
from kd_lab.strategies.common.strategy import Training
from kd_lab.types import UNLABELLED, Batch, LossTerms, Outputs


class FromNoise(FromMade):
    """The generator's step, then the student's on as many new samples as the batch of the data has.

    Args:
        training: with one teacher.
        making: the settings.
    """

    def __init__(self, training: Training, making: Making) -> None:
        super().__init__(training, making)
        made = self.new_generator(1)
        self._made = (made,)  # in a tuple: the training's optimizer does not move it
        self._optimizer = torch.optim.Adam(made.parameters(), lr=making.learning_rate)

    @property
    def generator(self) -> Generator:
        """What makes the samples."""
        return self._made[0]

    def attach(self, device: torch.device) -> None:
        """Teacher and generator come to this device."""
        super().attach(device)
        self.bring(self.generator, self._optimizer)

    def forward(self, batch: Batch) -> LossTerms:
        """The terms of the loss on samples of which none has a label."""
        (own, count), part = standing(batch.index), self.next_part()
        if self._step % self.making.every == 0 and part == 0:
            self._improve(count)
        with torch.no_grad():
            inputs = self.generator(self.drawn(count, 0, *([part] if part else [])))[own]
            taught = Outputs(self.watched(inputs)[0])
        made = Batch(inputs, torch.full_like(batch.targets, UNLABELLED), batch.index, share=batch.share)
        terms: LossTerms = self.objective(Outputs(call(self.network, inputs)), taught, made)
        return terms

    def _improve(self, count: int) -> None:
        """A step of the generator."""
        self.generator.train()
        inputs = self.generator(self.drawn(count, 1))
        logits, statistics, activation = self.watched(inputs)
        weights = self.making.weights
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

    def shown(self) -> Tensor:
        """What the generator makes now."""
        with torch.no_grad():
            made: Tensor = self.generator.eval()(self.drawn(SHOWN, 2))
        return made

    def get_extra_state(self) -> dict[str, Any]:
        """The generator's part of the state, and how many samples the teacher answered."""
        return {
            "generator": self.generator.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "samples": self.watched.samples,
        }

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """What `get_extra_state` gave."""
        self.generator.load_state_dict(state["generator"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.watched.samples = state["samples"]


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
