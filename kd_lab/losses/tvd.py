"""TVD: total variation distance, half the summed difference of the probabilities.

Matches probabilities as such: it is the share of its probability that the student would have to move to say what the
teacher says, from 0 to 1. The largest differences count, however improbable the class is by the other network, and
no ratio of probabilities comes in. Source: Wen et al. 2023, f-distill (arXiv:2307.15190), for sequences;
here over the classes of one sample.

Helps where the teacher's small probabilities are noise: an error there costs no more than its size. It is hard to
start with: its gradient carries the student's own probability of each class as a factor, so a student that has ruled a
class out hardly hears that the teacher wants it. Costs two softmaxes a batch, less than KD.
Defaults: temperature 1, weight 1, hard labels 0: the distance alone, as with language models.

Differs: where both probabilities are equal the distance has a kink; its derivative is taken as 0 there, so that a
student that equals the teacher stays where it is.

Legend: B batch, K classes.
"""

from typing import ClassVar

from torch import Tensor
from torch.nn import functional as F

from kd_lab.losses.common.loss import Loss
from kd_lab.types import Batch, Outputs


class TVD(Loss):
    """`mean_b 1/2 sum_k |p_s - p_t|`, from 0 to 1, with `p = softmax(logits)`.

    Example:
        >>> import torch
        >>> student, teacher = torch.zeros(1, 2), torch.tensor([[50.0, 0.0]])
        >>> batch = Batch(inputs=torch.zeros(1, 4), targets=torch.tensor([0]), index=torch.tensor([0]))
        >>> TVD()(Outputs(student), Outputs(teacher), batch)
        tensor(0.5000)
    """

    zero_at_equality: ClassVar[bool] = True
    shift_invariant: ClassVar[bool] = True
    symmetric: ClassVar[bool] = True

    def __init__(self) -> None:  # Without it the signature would be nn.Module's, which takes anything.
        super().__init__()

    def compute(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:  # noqa: ARG002
        """Every sample counts, labelled or not."""
        p_s_BK, p_t_BK = F.softmax(student.logits, dim=-1), F.softmax(teacher.logits, dim=-1)
        return F.l1_loss(p_s_BK, p_t_BK, reduction="sum") / (2 * len(p_s_BK))
