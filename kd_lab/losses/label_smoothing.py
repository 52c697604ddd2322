"""Label smoothing: cross-entropy with labels that keep a little probability for every class. A control: no teacher.

What a student gains over it came from the teacher and not from softer targets. Source: Szegedy et al. 2016
(arXiv:1512.00567), section 7.

Helps large networks by a little; on digits with 100 labels it did nothing or hurt, and it leaves a small student badly
calibrated (kd-lab's own measurements). Costs what a cross-entropy costs. Defaults: epsilon = 0.1, weight 1, no hard
labels beside it. `student.recipe.label_smoothing` smooths the hard labels of any other objective in the same way.

Differs: a sample without a label counts nowhere.

Legend: B batch, K classes.
"""

from typing import ClassVar

from torch import Tensor
from torch.nn import functional as F

from kd_lab.losses.common.checks import within
from kd_lab.losses.common.labelled import labelled_mean
from kd_lab.losses.common.loss import Loss
from kd_lab.types import UNLABELLED, Batch, Outputs


class LabelSmoothing(Loss):
    """`mean_b -sum_k q log p_s` in nats, `q = (1 - epsilon) onehot(y) + epsilon / K`, over the labelled samples.

    Args:
        epsilon: the share of the probability that is spread evenly over all classes, the label's included.

    Raises:
        ValueError: `epsilon` is not from 0 to 1.

    Example:
        >>> import torch
        >>> batch = Batch(inputs=torch.zeros(1, 4), targets=torch.tensor([0]), index=torch.tensor([0]))
        >>> LabelSmoothing()(Outputs(torch.zeros(1, 2)), None, batch)
        tensor(0.6931)
    """

    zero_at_equality: ClassVar[bool] = False
    shift_invariant: ClassVar[bool] = True
    symmetric: ClassVar[bool] = False
    needs_teacher: ClassVar[bool] = False
    labelled_only: ClassVar[bool] = True
    reads_labels: ClassVar[bool] = True

    def __init__(self, *, epsilon: float = 0.1) -> None:
        super().__init__()
        self.epsilon = within("epsilon", epsilon, 0, 1)

    def compute(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:  # noqa: ARG002
        """Over the labelled samples; 0 where there is none."""
        values_B = F.cross_entropy(
            student.logits,
            batch.targets,
            ignore_index=UNLABELLED,
            reduction="none",
            label_smoothing=self.epsilon,
        )
        return labelled_mean(values_B, batch.targets)

    def extra_repr(self) -> str:
        """The settings, for `print(module)`."""
        return f"epsilon={self.epsilon}"
