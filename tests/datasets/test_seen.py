"""What a student sees of the data, where it is not all."""

import itertools

import pytest
import torch

from kd_lab.datasets.common.seen import leave_out, with_unlabelled
from kd_lab.datasets.common.splits import Parts, assemble
from kd_lab.errors import UserError
from kd_lab.types import UNLABELLED, Data


def of_classes(targets: list[int], train: list[int]) -> Data:
    """Rows 0 to 5 are the pool, 6 and 7 the test."""
    labels = torch.tensor(targets)
    pool, test = torch.arange(6), torch.tensor([6, 7])
    parts = Parts(torch.tensor(train), pool, pool[:0], test)
    return assemble("made", torch.zeros(8, 1), labels, parts, num_classes=3, augment=None)


def test_leave_out__from_train_and_transfer_only() -> None:
    data = of_classes([0, 1, 2, 0, 1, 2, 1, 2], [0, 1, 2, 3])
    found = leave_out(data, [1], "student.without_classes=[1]")
    assert found.train.tolist() == [0, 2, 3]
    assert found.transfer.tolist() == [0, 2, 3, 5]
    assert found.test.tolist() == [6, 7]
    assert (found.num_classes, found.fingerprint) == (3, data.fingerprint)
    assert leave_out(data, [1, 2, 2], "x").train.tolist() == [0, 3]
    assert len(data.train) == 4


@pytest.mark.parametrize(
    ("classes", "targets", "message"),
    [
        ([3], [0, 1, 2, 0, 1, 2], r"^student\.x: expected classes from 0 to 2, but got 3\."),
        ([1, -1], [0, 1, 2, 0, 1, 2], r"^student\.x: expected classes from 0 to 2, but got -1\."),
        ([0, 1, 2], [0, 1, 2, 0, 1, 2], r"^student\.x: no training point is left; expected fewer than all 3 classes\."),
        (
            [1],
            [0, 1, 2, 0, UNLABELLED, UNLABELLED],
            r"^student\.x: 2 of 6 training points have no label, .*labels=null",
        ),
    ],
)
def test_leave_out__what_cannot_be(classes: list[int], targets: list[int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        leave_out(of_classes([*targets, 1, 2], [0, 1, 2, 3]), classes, "student.x")


def test_with_unlabelled__so_many_of_them_and_all_that_are_labelled() -> None:
    data = of_classes([0, 1, *[UNLABELLED] * 4, 1, 2], [0, 1])
    seen = [with_unlabelled(data, count, "x").transfer.tolist() for count in range(5)]
    assert seen[0] == [0, 1]
    assert seen[4] == [0, 1, 2, 3, 4, 5]
    for count, (fewer, more) in enumerate(itertools.pairwise(seen), start=1):
        assert set(fewer) < set(more)
        assert len(more) == 2 + count
    assert with_unlabelled(data, 2, "x").train.tolist() == [0, 1]
    with pytest.raises(UserError, match=r"^student.unlabelled=5: expected at most 4, the training points without a la"):
        with_unlabelled(data, 5, "student.unlabelled=5")
