"""How closely a student follows its teacher.

Source: Stanton et al. 2021 (arXiv 2106.05945), top-1 agreement and average predictive KL. Legend: N samples, K classes.
"""

from torch import Tensor

from kd_lab import names
from kd_lab.measures.predictive import check_pair
from kd_lab.types import Measurement


def fidelity(student: Tensor, teacher: Tensor, targets: Tensor) -> Measurement:
    """Top-1 agreement, the same where the teacher is wrong, and mean KL(teacher || student) at T=1 in nats.

    Agreement where the teacher is wrong says how many of its errors the student copied; it is absent when the teacher
    makes none.

    Args:
        student: logits [N, K], finite.
        teacher: logits [N, K], finite, of the same samples.
        targets: [N] int64, 0..K-1.

    Raises:
        ValueError: shapes that do not match, no samples, a target out of range, a logit that is not finite.
    """
    if student.shape != teacher.shape:
        raise ValueError(
            f"Expected logits of student and teacher of one shape, but got {tuple(student.shape)} and "
            f"{tuple(teacher.shape)}."
        )
    log_s_nk = check_pair(student, targets).log_softmax(dim=1)
    log_t_nk = check_pair(teacher, targets).log_softmax(dim=1)
    answer_t = log_t_nk.argmax(dim=1)
    same = (log_s_nk.argmax(dim=1) == answer_t).double()
    wrong = answer_t != targets.cpu()
    found = {names.TEST_AGREEMENT_TOP1: same.mean().item()}
    if wrong.any():
        found[names.TEST_AGREEMENT_TEACHER_WRONG] = same[wrong].mean().item()
    # exp of a log-softmax is 0 at worst and the other factor stays finite: no 0 * inf.
    found[names.TEST_KL_NATS] = (log_t_nk.exp() * (log_t_nk - log_s_nk)).sum(dim=1).mean().item()
    return found
