import math

import pytest
import torch
from torch import Tensor

from kd_lab.losses.common.loss import Loss
from kd_lab.losses.kd import KD
from kd_lab.losses.sparse_kl import SparseKL
from kd_lab.types import Outputs
from tests.contracts.loss_cases import batch, noise
from tests.reference.losses.sparse_kl import reference

__all__ = ["reference"]

SETTINGS = [{"k": 1}, {"k": 3, "temperature": 4.0}, {"k": 6}, {"k": 7}, {"k": 100}]


def value(loss: Loss, student: Tensor, teacher: Tensor) -> float:
    return float(loss(Outputs(student), Outputs(teacher), batch(len(student), classes=student.shape[1])))


def probabilities(*rows: list[float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64).log()


def test_sparse_kl__four_classes_by_hand() -> None:
    """Teacher 1/2 | 1/4, 1/8, 1/8 and student 1/8 | 1/2, 1/4, 1/8 with k = 1: KL([1/2, 1/2] || [1/8, 7/8]).

    That is 1/2 ln 4 + 1/2 ln 4/7.
    """
    teacher, student = probabilities([0.5, 0.25, 0.125, 0.125]), probabilities([0.125, 0.5, 0.25, 0.125])

    expected = 0.5 * math.log(4) + 0.5 * math.log(4 / 7)
    assert value(SparseKL(k=1), student, teacher) == pytest.approx(expected, rel=1e-12)


def test_sparse_kl__the_teacher_says_which_classes_stand_for_themselves() -> None:
    """The student's probabilities of the rest may be dealt out anew, those of the teacher's best two may not."""
    teacher = probabilities([0.4, 0.3, 0.2, 0.1])
    as_it_was, rest_dealt_anew = probabilities([0.1, 0.2, 0.3, 0.4]), probabilities([0.1, 0.2, 0.69, 0.01])
    best_dealt_anew = probabilities([0.2, 0.1, 0.3, 0.4])

    before = value(SparseKL(k=2), as_it_was, teacher)

    assert value(SparseKL(k=2), rest_dealt_anew, teacher) == pytest.approx(before, rel=1e-12)
    assert value(SparseKL(k=2), best_dealt_anew, teacher) != pytest.approx(before, rel=1e-2)


def test_sparse_kl__the_students_probability_of_the_rest_counts() -> None:
    """Scaled to the same sum, as where the rest is left out, both students would be the teacher."""
    teacher = probabilities([0.45, 0.45, 0.1])

    assert value(SparseKL(k=2), probabilities([0.3, 0.3, 0.4]), teacher) > 0.2


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_sparse_kl__never_exceeds_kd_and_is_kd_from_all_classes_but_one(temperature: float) -> None:
    """Adding probabilities up can only lose divergence (the data processing inequality)."""
    student, teacher = noise(8, 6, seed=0), noise(8, 6, seed=1)
    whole = value(KD(temperature=temperature), student, teacher)

    found = [value(SparseKL(temperature=temperature, k=k), student, teacher) for k in (1, 2, 3, 4, 5, 6, 50)]

    assert found == pytest.approx(sorted(found), rel=1e-12)
    assert found[0] < whole
    assert found[-3:] == pytest.approx([whole] * 3, rel=1e-10)


def test_sparse_kl__the_gradient_of_the_rest_keeps_its_probabilities_in_proportion() -> None:
    """The bucket moves as one: among themselves the student's other classes are pulled in proportion to p_s."""
    student, teacher = noise(4, 9, seed=0).requires_grad_(), noise(4, 9, seed=1)

    (gradient,) = torch.autograd.grad(SparseKL(k=3)(Outputs(student), Outputs(teacher), batch(4)), student)

    rest = teacher.argsort(dim=1)[:, :6]
    ratio = gradient.gather(1, rest) / student.softmax(1).gather(1, rest)
    torch.testing.assert_close(ratio, ratio[:, :1].expand(-1, 6), rtol=1e-8, atol=0)


@pytest.mark.parametrize("k", [0, -2, 2.0, True])
def test_sparse_kl__k_must_be_a_whole_number(k: int) -> None:
    with pytest.raises(ValueError, match=rf"Expected `k` to be a whole number >= 1, but got {k}\."):
        SparseKL(k=k)


def test_sparse_kl__bad_temperature_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Expected `temperature` to be > 0, but got 0\.0\."):
        SparseKL(temperature=0)


def test_sparse_kl__print_shows_the_settings() -> None:
    assert repr(SparseKL(k=3)) == "SparseKL(temperature=1.0, k=3)"
