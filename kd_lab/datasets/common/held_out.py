"""The test part of data that come without one."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from kd_lab.datasets.common.splits import check_every_class, check_size, count_of, stratified
from kd_lab.errors import UserError
from kd_lab.types import UNLABELLED


class Wanted(NamedTuple):
    """What is asked for.

    size: a number of labelled points, or a fraction of them. seed: of the data. setting: what messages about the data
    start with. instead: how the data could bring a test part of their own. classes: their names, if they have any.
    """

    size: int | float
    seed: int
    setting: str
    instead: str
    classes: Sequence[object] = ()


def check_test(size: int | float) -> None:
    """Checks how much is asked for of data that come without a test part.

    Raises:
        ValueError: nothing, a negative number, or a fraction that is none.
    """
    check_size("test", size)
    if size == 0:
        raise ValueError(f"Expected `test` to be > 0, but got {size}.")


def cut_off(targets: Tensor, rows: Tensor, size: int | float, seed: int, called: str) -> tuple[Tensor, Tensor]:
    """Cuts labelled rows into the training pool and the test, each class in proportion; called: what they are.

    Raises:
        UserError: nothing is left of a class, or of all.
    """
    asked, count = f"dataset.test={size}", count_of(size, len(rows))
    if count >= len(rows):
        raise UserError(f"{asked}: there are only {len(rows)} {called} to cut it from, choose fewer.")
    return stratified(targets, rows, len(rows) - count, seed, asked)


def cut_test(targets: Tensor, rows: Tensor, num_classes: int, wanted: Wanted) -> tuple[Tensor, Tensor]:
    """Cuts rows into the training pool and the test, each class in proportion; points without a label stay in the pool.

    Raises:
        UserError: a class is too small to be cut, or no point is left of one.
    """
    known = targets[rows] != UNLABELLED
    labelled = rows[known]
    counts = torch.bincount(targets[labelled], minlength=num_classes)
    if int(counts.min()) < 2:
        rare = int(counts.argmin())
        called = wanted.classes[rare] if wanted.classes else rare
        raise UserError(
            f"{wanted.setting}: class {called} has only 1 labelled example, at least 2 are needed to cut a test part "
            f"from them; add examples or give {wanted.instead}."
        )
    pool, test = cut_off(targets, labelled, wanted.size, wanted.seed, "labelled points")
    check_every_class(targets, pool, num_classes, f"dataset.test={wanted.size}")
    return torch.cat([pool, rows[~known]]), test
