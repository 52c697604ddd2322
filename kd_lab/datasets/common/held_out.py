"""The test part of data that come without one."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from kd_lab.datasets.common.splits import check_every_class, count_of, stratified
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
    asked = f"dataset.test={wanted.size}"
    size = count_of(wanted.size, len(labelled))
    if size >= len(labelled):
        raise UserError(f"{asked}: there are only {len(labelled)} labelled points to cut it from, choose fewer.")
    pool, test = stratified(targets, labelled, len(labelled) - size, wanted.seed, asked)
    check_every_class(targets, pool, num_classes, asked)
    return torch.cat([pool, rows[~known]]), test
