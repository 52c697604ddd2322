import pytest
import torch
from torch import Tensor

from kd_lab.losses.common.loss import Loss
from kd_lab.losses.sparse_tvd import SparseTVD
from kd_lab.types import Outputs
from tests.contracts.loss_cases import batch, noise
from tests.reference.losses.sparse_tvd import reference

__all__ = ["reference"]

SETTINGS = [{"k": 1}, {"k": 3}, {"k": 6}, {"k": 7}]


def value(loss: Loss, student: Tensor, teacher: Tensor) -> float:
    return float(loss(Outputs(student), Outputs(teacher), batch(len(student), classes=student.shape[1])))


def test_sparse_tvd__four_classes_by_hand() -> None:
    """Teacher 1/2, 1/4 | 1/8, 1/8 and student 1/8, 1/2 | 1/4, 1/8, k = 2: 1/2 (3/8 + 1/4 + 1/8)."""
    teacher = torch.tensor([[0.5, 0.25, 0.125, 0.125]], dtype=torch.float64).log()
    student = torch.tensor([[0.125, 0.5, 0.25, 0.125]], dtype=torch.float64).log()

    assert value(SparseTVD(k=2), student, teacher) == pytest.approx(3 / 8, rel=1e-12)


def test_sparse_tvd__is_1_for_certainty_of_different_classes() -> None:
    teacher, student = torch.tensor([[100.0, 0, 0, 0]]), torch.tensor([[0, 100.0, 0, 0]])

    assert value(SparseTVD(k=1), student, teacher) == pytest.approx(1, rel=1e-6)


def test_sparse_tvd__never_exceeds_the_distance_over_all_classes_and_is_it_from_all_but_one() -> None:
    student, teacher = noise(8, 6, seed=0), noise(8, 6, seed=1)
    whole = float((student.softmax(1) - teacher.softmax(1)).abs().sum(1).mean() / 2)

    found = [value(SparseTVD(k=k), student, teacher) for k in (1, 2, 3, 4, 5, 6, 50)]

    assert found == pytest.approx(sorted(found), rel=1e-12)
    assert found[0] < whole
    assert found[-3:] == pytest.approx([whole] * 3, rel=1e-10)


def test_sparse_tvd__k_must_be_a_whole_number() -> None:
    with pytest.raises(ValueError, match=r"Expected `k` to be a whole number >= 1, but got 0\."):
        SparseTVD(k=0)


def test_sparse_tvd__print_shows_the_settings() -> None:
    assert repr(SparseTVD()) == "SparseTVD(k=5)"
