"""What a student sees of a dataset, where it is not all: some classes are left out, or most unlabelled points."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from kd_lab.errors import UserError
from kd_lab.types import UNLABELLED, Data


def leave_out(data: Data, classes: Sequence[int], setting: str) -> Data:
    """The data without the training points of some classes; validation, test and fingerprint stay.

    Args:
        data: every training point has a label.
        classes: from 0 to K - 1.
        setting: the key and value that the message blames, as in `student.without_classes=[3]`.

    Raises:
        UserError: no such class, all of them, or points whose class is not known.
    """
    unknown = [number for number in classes if not 0 <= number < data.num_classes]
    if unknown:
        raise UserError(f"{setting}: expected classes from 0 to {data.num_classes - 1}, but got {unknown[0]}.")
    pool = data.targets[torch.unique(torch.cat([data.train, data.transfer]))]
    hidden = int((pool == UNLABELLED).sum())
    if hidden:
        raise UserError(
            f"{setting}: {hidden} of {len(pool)} training points have no label, so that nobody knows which of them "
            "belong to it; expected labels for all, such as dataset.labels=null."
        )
    if not (~torch.isin(pool, torch.tensor(classes))).any():
        raise UserError(f"{setting}: no training point is left; expected fewer than all {data.num_classes} classes.")

    def kept(rows: Tensor) -> Tensor:
        return rows[~torch.isin(data.targets[rows], torch.tensor(classes))]

    return replace(data, train=kept(data.train), transfer=kept(data.transfer))


def with_unlabelled(data: Data, count: int, setting: str) -> Data:
    """The data with so many of the unlabelled training points; the others of its parts stay.

    Which ones is by chance, the same whenever it is asked; those of a smaller number are among those of a larger one.

    Raises:
        UserError: there are not so many.
    """
    hidden = data.targets[data.transfer] == UNLABELLED
    rows = data.transfer[hidden]
    if count > len(rows):
        raise UserError(f"{setting}: expected at most {len(rows):,}, the training points without a label")
    chosen = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[:count]]
    return replace(data, transfer=data.transfer[~hidden | torch.isin(data.transfer, chosen)])
