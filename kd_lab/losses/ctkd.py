"""CTKD: KD at a temperature that is learned against the student, so that the task gets harder as it learns.

Matches the softened probabilities as `kd` does. The temperature is trained by the same optimizer to make the same loss
as large as it can, through a gradient that is reversed; the factor of the reversal grows from 0 to 1 at the start,
which is the curriculum. T^2 is part of what it maximises: without it a low temperature would always win. Source: Li et
al. 2023 (arXiv:2211.16231), equation 11 for the curriculum; range and start of the temperature, T^2 and the length of
the curriculum are those of the authors' code.

Helps where nobody wants to search a temperature: on CIFAR-100 the authors report about half a point over KD at T = 4
(75.45 against 74.92 for WRN-40-2 to WRN-16-2). Costs KD's two softmaxes and their derivatives by T. The curve
`ctkd_temperature` shows what was learned; the weight decay of the optimizer acts on it too, as the authors' does.
Defaults: one temperature for all samples, which starts at 1 + 20 sigmoid(1) = 15.6, weight 0.9, hard labels 0.1; the
reversal rises as half a cosine wave over the first 10 of 240 epochs.

Differs: the factor rises every step, where the authors raise it every epoch. With `instance_wise=true` two linear
layers predict a temperature for each sample from both networks' logits. The authors keep these layers outside their
repository and we have not seen them: ours have 256 hidden units, see the logits less their mean, and give the student
no gradient, for through the reversal it would learn to make its own task harder.

Legend: B batch, K classes.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kd_lab.losses.common.checks import not_negative
from kd_lab.losses.common.loss import Loss
from kd_lab.losses.common.reversal import reversed_gradient
from kd_lab.types import Batch, Outputs

LOWEST, RANGE = 1.0, 20.0
"""T lies between LOWEST and LOWEST + RANGE."""

HIDDEN = 256


class CTKD(Loss):
    """`mean_b T^2 KL(p_t || p_s)` in nats, `T = 1 + 20 sigmoid(theta)`, theta ascending the loss.

    Args:
        reversal: what the gradient of theta is multiplied by, with a minus sign.
        instance_wise: whether theta is predicted for each sample, and not one number for all.
        num_classes: K.

    Raises:
        ValueError: `reversal` is negative or not finite.

    Example:
        >>> import torch
        >>> logits = torch.tensor([[2.0, 0.0, -1.0]])
        >>> batch = Batch(inputs=torch.zeros(1, 4), targets=torch.tensor([0]), index=torch.tensor([0]))
        >>> loss = CTKD(num_classes=3)
        >>> loss(Outputs(logits), Outputs(logits), batch).item()
        0.0
        >>> round(loss.readings()["temperature"], 2)
        15.62
    """

    zero_at_equality: ClassVar[bool] = True
    shift_invariant: ClassVar[bool] = True
    symmetric: ClassVar[bool] = False
    learns: ClassVar[str] = "CTKD's temperature, against the network, from the training part"

    def __init__(self, *, num_classes: int, reversal: float = 1.0, instance_wise: bool = False) -> None:
        super().__init__()
        self.reversal = not_negative("reversal", reversal)
        self.instance_wise = instance_wise
        self._mean_temperature: Tensor | None = None
        if instance_wise:
            self.refuses_masked = "the temperature of a sample is predicted from them"
            self.mlp = nn.Sequential(nn.Linear(2 * num_classes, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 1))
        else:
            self.theta = nn.Parameter(torch.ones(()))

    def compute(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:  # noqa: ARG002
        """Every sample counts, labelled or not."""
        theta = self._predicted(student.logits, teacher.logits) if self.instance_wise else self.theta
        temperature = LOWEST + RANGE * torch.sigmoid(reversed_gradient(theta, self.reversal))  # [] or [B, 1]
        self._mean_temperature = temperature.detach().mean()
        inverse = 1 / temperature  # multiplying is cheaper than dividing, in the derivative by T above all
        log_s_BK, log_t_BK = (F.log_softmax(z * inverse, dim=1) for z in (student.logits, teacher.logits))
        divergence_B = (log_t_BK.exp() * (log_t_BK - log_s_BK)).sum(dim=1)
        return (temperature.flatten().square() * divergence_B).mean()

    def _predicted(self, student_logits_BK: Tensor, teacher_logits_BK: Tensor) -> Tensor:
        """[B, 1]; the teacher's logits come first, as in the authors' call."""
        seen = [z - z.mean(dim=1, keepdim=True) for z in (teacher_logits_BK, student_logits_BK.detach())]
        theta: Tensor = self.mlp(torch.cat(seen, dim=1))
        return theta

    def readings(self) -> dict[str, float]:
        """The mean temperature of the last batch."""
        return {} if self._mean_temperature is None else {"temperature": float(self._mean_temperature)}

    def extra_repr(self) -> str:
        """The settings, for `print(module)`."""
        return f"reversal={self.reversal}, instance_wise={self.instance_wise}"
