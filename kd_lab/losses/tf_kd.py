"""TF-KD: distillation from a virtual teacher that is right by construction and equally wrong elsewhere. A control.

It tells how much of a gain a teacher brings that knows the label and nothing of the other classes. Source: Yuan et al.
2020 (arXiv:1909.11723), their Tf-KD_reg. The virtual teacher's probabilities, `correct` on the label and the same for
every other class, go through a softmax once more, divided by T; the student's temperature is 1 and there is no T^2,
all as in the authors' code, where the divergence is a sum over the classes for their CIFAR-100 ResNet-18.

So it is label smoothing in disguise: at T = 20 the virtual teacher is almost uniform (with 10 classes it gives the
label 0.1045 and every other class 0.0995), which is smoothing with epsilon = 0.995, kept small by its weight.

Helps, but less than label smoothing in PS-KD's table: 22.88 % error on CIFAR-100, against 24.18 alone and 20.94 with
label smoothing. Costs one softmax a batch. Defaults: T = 20, correct = 0.99, weight 0.1, hard labels 0.9.

Differs: a sample without a label counts nowhere.

Legend: B batch, K classes.
"""

import math
from typing import ClassVar

from torch import Tensor
from torch.nn import functional as F

from kd_lab.losses.common.checks import positive, within
from kd_lab.losses.common.labelled import any_label, labelled_mean
from kd_lab.losses.common.loss import Loss
from kd_lab.types import Batch, Outputs


class TFKD(Loss):
    """`mean_b KL(v || p_s)` in nats, `v = softmax(u / T)`, over the labelled samples.

    u: `correct` for the label, `(1 - correct) / (K - 1)` for every other class.

    Args:
        temperature: T, of the virtual teacher alone, without unit.
        correct: the probability that the virtual teacher gives the label before the temperature.

    Raises:
        ValueError: `temperature` is not a finite number above 0, or `correct` is not from 0 to 1.

    Example:
        >>> import torch
        >>> batch = Batch(inputs=torch.zeros(1, 4), targets=torch.tensor([0]), index=torch.tensor([0]))
        >>> TFKD(correct=0.5)(Outputs(torch.zeros(1, 2)), None, batch)
        tensor(0.)
    """

    zero_at_equality: ClassVar[bool] = False
    shift_invariant: ClassVar[bool] = True
    symmetric: ClassVar[bool] = False
    needs_teacher: ClassVar[bool] = False
    labelled_only: ClassVar[bool] = True
    reads_labels: ClassVar[bool] = True

    def __init__(self, *, temperature: float = 20.0, correct: float = 0.99) -> None:
        super().__init__()
        self.temperature = positive("temperature", temperature)
        self.correct = within("correct", correct, 0, 1)

    def compute(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:  # noqa: ARG002
        """Over the labelled samples; 0 where there is none. The virtual teacher has two numbers, not K of them."""
        log_p_s_BK = F.log_softmax(student.logits, dim=1)
        log_p_s_B = log_p_s_BK.gather(1, any_label(batch.targets).unsqueeze(1)).squeeze(1)
        others = log_p_s_BK.shape[1] - 1
        log_label, log_other = self._virtual(others)
        label, other = math.exp(log_label), math.exp(log_other)
        negative_entropy = label * log_label + others * other * log_other
        cross_entropy_B = -(label * log_p_s_B + other * (log_p_s_BK.sum(dim=1) - log_p_s_B))
        return labelled_mean(negative_entropy + cross_entropy_B, batch.targets)

    def _virtual(self, others: int) -> tuple[float, float]:
        """log-probability of the label and of one other class, of `others` in number."""
        logit_label = self.correct / self.temperature
        logit_other = (1 - self.correct) / max(others, 1) / self.temperature
        largest = max(logit_label, logit_other)
        total = math.exp(logit_label - largest) + others * math.exp(logit_other - largest)
        log_total = largest + math.log(total)
        return logit_label - log_total, logit_other - log_total

    def extra_repr(self) -> str:
        """The settings, for `print(module)`."""
        return f"temperature={self.temperature}, correct={self.correct}"
