import pytest
import torch

from kd_lab.datasets.common.splits import (
    SplitSettings,
    check_every_class,
    count_of,
    cut,
    fingerprint,
    hide_labels,
    stratified,
)
from kd_lab.errors import UserError
from kd_lab.types import UNLABELLED


def test_stratified__keeps_proportions_and_every_row_once() -> None:
    targets = torch.tensor([0] * 30 + [1] * 60)
    rows = torch.arange(90)
    one, two = stratified(targets, rows, 30, 0, "dataset.labels=30")
    assert torch.bincount(targets[one]).tolist() == [10, 20]
    assert sorted([*one.tolist(), *two.tolist()]) == rows.tolist()


def test_stratified__all_rows_in_the_first_part() -> None:
    targets = torch.arange(30) % 10
    one, two = stratified(targets, torch.arange(30), 30, 0, "dataset.labels=30")
    assert (len(one), len(two)) == (30, 0)


def test_stratified__a_second_part_smaller_than_the_classes() -> None:
    targets = torch.arange(30) % 10
    with pytest.raises(UserError, match=r"dataset.labels=29: 30 labelled points cannot be cut into 29 and 1"):
        stratified(targets, torch.arange(30), 29, 0, "dataset.labels=29")


def test_count_of__a_fraction_is_rounded_up_and_a_number_kept() -> None:
    assert [count_of(size, 101) for size in (0.0, 0.1, 0.5, 0, 7)] == [0, 11, 51, 0, 7]


def test_hide_labels__copies() -> None:
    targets = torch.arange(4)
    assert hide_labels(targets, torch.tensor([1, 3])).tolist() == [0, UNLABELLED, 2, UNLABELLED]
    assert targets.tolist() == [0, 1, 2, 3]


def test_cut__unlabelled_points_go_to_transfer_only() -> None:
    targets = torch.arange(60) % 3
    targets[40:50] = UNLABELLED
    pool, test = torch.arange(50), torch.arange(50, 60)
    hidden, parts = cut(targets, pool, test, 3, SplitSettings(6, 0.25, 0))
    assert (len(parts.train), len(parts.validation)) == (6, 10)
    assert len(parts.transfer) == 40
    assert set(range(40, 50)) <= set(parts.transfer.tolist())
    assert set(parts.train.tolist()) <= set(parts.transfer.tolist())
    assert not set(parts.transfer.tolist()) & set(parts.validation.tolist())
    for part in (parts.train, parts.validation, parts.test):
        assert int(hidden[part].min()) >= 0
        assert torch.equal(hidden[part], targets[part])


def test_cut__rare_class_without_a_label_says_how_many_are_enough() -> None:
    targets = torch.tensor([0] * 50 + [1] * 48 + [2] * 2)
    rows = torch.arange(100)
    with pytest.raises(UserError, match=r"dataset.labels=10: class 2 \(2 of 100 training points\).*choose at least 50"):
        cut(targets, rows, rows[:0], 3, SplitSettings(10, 0, 0))
    _, parts = cut(targets, rows, rows[:0], 3, SplitSettings(50, 0, 0))
    assert sorted(set(targets[parts.train].tolist())) == [0, 1, 2]


def test_cut__validation_that_takes_a_class_away() -> None:
    targets = torch.tensor([0] * 9 + [1])
    rows = torch.arange(10)
    with pytest.raises(
        UserError, match=r"dataset.validation=9: 10 labelled points cannot be cut into 1 and 9 with every class"
    ):
        cut(targets, rows, rows[:0], 2, SplitSettings(None, 9, 1))


def test_check_every_class__says_which_and_how_many() -> None:
    with pytest.raises(UserError, match=r"dataset.test=0.5: class 1 has no labelled .*\(2 of 4 classes have none\)"):
        check_every_class(torch.tensor([0, 0, 2]), torch.arange(3), 4, "dataset.test=0.5")


@pytest.mark.parametrize("size", [1.0, 2.5, -0.1, float("nan")])
def test_settings__fraction_out_of_range(size: float) -> None:
    with pytest.raises(ValueError, match=rf"Expected `validation` to be a fraction from 0 .* but got {size}\."):
        SplitSettings(None, size, 0)


def test_fingerprint__follows_values_shape_type_and_parts() -> None:
    inputs, targets, rows = torch.arange(6.0).view(3, 2), torch.arange(3), torch.arange(2)
    prints = [
        fingerprint(inputs, targets, [rows]),
        fingerprint(inputs + 1, targets, [rows]),
        fingerprint(inputs.view(3, 2, 1), targets, [rows]),
        fingerprint(inputs.double(), targets, [rows]),
        fingerprint(inputs, targets + 1, [rows]),
        fingerprint(inputs, targets, [rows.flip(0)]),
        fingerprint(inputs, targets, [rows, rows[:0]]),
        fingerprint(inputs, targets, [rows[:1], rows[1:]]),
    ]
    assert len(set(prints)) == len(prints)
    assert all(len(one) == 64 for one in prints)
    assert fingerprint(inputs.T.contiguous().T, targets, [rows]) == prints[0]
