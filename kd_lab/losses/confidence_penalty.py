"""Confidence penalty: the student's entropy, with the sign that makes it large. A control: no teacher.

It softens the student as distillation does, and knows nothing of the classes. Source: Pereyra et al. 2017
(arXiv:1701.06548), section 3. Apart from a constant it is the divergence KL(p_s || uniform), where label smoothing is
KL(uniform || p_s).

Helps against a network that is surer than it is right; what a distilled student gains over it came from the teacher. It
costs one softmax a batch. Defaults: weight 0.1, hard labels 1. The weight is the paper's beta, tuned there per task.

Differs: nothing. It asks for no label, so a sample without one counts as well.

Legend: B batch, K classes.
"""

from typing import ClassVar

from torch import Tensor
from torch.nn import functional as F

from kd_lab.losses.common.loss import Loss
from kd_lab.types import Batch, Outputs


class ConfidencePenalty(Loss):
    """`mean_b sum_k p_s log p_s` in nats: minus the entropy, from `-ln K` (nothing is known) to 0 (certainty).

    Example:
        >>> import torch
        >>> batch = Batch(inputs=torch.zeros(1, 4), targets=torch.tensor([0]), index=torch.tensor([0]))
        >>> ConfidencePenalty()(Outputs(torch.zeros(1, 2)), None, batch)
        tensor(-0.6931)
    """

    zero_at_equality: ClassVar[bool] = False
    shift_invariant: ClassVar[bool] = True
    symmetric: ClassVar[bool] = False
    needs_teacher: ClassVar[bool] = False

    def __init__(self) -> None:  # Without it the signature would be nn.Module's, which takes anything.
        super().__init__()

    def compute(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:  # noqa: ARG002
        """Every sample counts, labelled or not."""
        log_p_s_BK = F.log_softmax(student.logits, dim=1)
        return (log_p_s_BK.exp() * log_p_s_BK).sum(dim=1).mean()
