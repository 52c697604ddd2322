"""The few most probable classes of the teacher, and all others added up into one: what a cache of its answers can hold.

Legend: B batch, K classes, J = k + 1 numbers of a sample.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def number_kept(name: str, value: int) -> int:
    """The value; ValueError unless it is a whole number of 1 or more."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"Expected `{name}` to be a whole number >= 1, but got {value}.")
    return value


def top_and_rest(
    student_logits_BK: Tensor, teacher_logits_BK: Tensor, k: int, temperature: float = 1.0
) -> tuple[Tensor, Tensor]:
    """log-probabilities [B, J] of student and teacher: of the teacher's k most probable classes, and of all others.

    Where k >= K there are no others, and they are those of all classes [B, K].
    """
    best_Bk = teacher_logits_BK.topk(min(k, teacher_logits_BK.shape[1]), dim=1, sorted=False).indices
    return _bucketed(student_logits_BK, best_Bk, temperature), _bucketed(teacher_logits_BK, best_Bk, temperature)


def _bucketed(logits_BK: Tensor, best_Bk: Tensor, temperature: float) -> Tensor:
    """The others count as one class, whose logit is the logsumexp of theirs: no softmax over K is needed."""
    tempered_BK = logits_BK if temperature == 1.0 else logits_BK / temperature
    top_Bk = tempered_BK.gather(1, best_Bk)
    if best_Bk.shape[1] == logits_BK.shape[1]:
        return F.log_softmax(top_Bk, dim=1)
    lowest = torch.finfo(logits_BK.dtype).min
    rest_B1 = tempered_BK.scatter(1, best_Bk, lowest).logsumexp(dim=1, keepdim=True)
    return F.log_softmax(torch.cat([top_Bk, rest_B1], dim=1), dim=1)
