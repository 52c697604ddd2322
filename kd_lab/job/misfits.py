"""Whether a teacher that came trained looks as if it had learned from otherwise scaled inputs, or from other labels.

Both are quiet mistakes: the job runs, and a teacher far below its published accuracy teaches. So it is asked for some
samples with a label before it does: as they are, under the scalings that are in use, and with its classes renumbered.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from kd_lab.datasets.common.pictures import IMAGENET_DEVIATION, IMAGENET_MEAN, of_channels
from kd_lab.datasets.common.scaled import Scaled
from kd_lab.errors import UserError
from kd_lab.inputs import Inputs, each
from kd_lab.job.plan import Plan
from kd_lab.measures.predict import predict
from kd_lab.types import Data, InMemory

ASKED, READ = 2000, 500
"""So many samples show its labels, of a dataset in memory and of one that is read when it is wanted."""
RESCALED = 256
"""So many of them are tried under every scaling."""
LEAST = 50
"""Fewer show nothing."""
POINTS, SIGMAS = 0.1, 4.0
"""What is better is so by a share of the samples, and by standard deviations of what chance would do."""

Rescale = Callable[[Tensor], Tensor]


class Explanation(NamedTuple):
    """A sentence, and the share of samples that are right under it."""

    accuracy: float
    sentence: str


def misfits(plan: Plan, teacher: nn.Module) -> list[str]:
    """What looks amiss with a teacher whose weights were given, a sentence at most; nothing of one trained here.

    Of two explanations the one under which more samples are right.

    Raises:
        UserError: a sample cannot be read.
    """
    spec, data = plan.specs.teacher, plan.data
    if spec is None or not spec.source:
        return []
    part, rows = ("validation", data.validation) if len(data.validation) else ("training", data.train)
    rows = _spread(rows, ASKED if isinstance(data.source, InMemory) else READ)
    if len(rows) < LEAST:
        return []

    def answers(of: Data, some: Tensor) -> Tensor:
        said = predict(
            teacher, of.rows(some), device=plan.devices.main, precision=spec.recipe.precision, batch_size=256
        )
        return said.argmax(dim=1)

    own = answers(data, rows)
    told = f"of {len(rows):,} {part} samples"
    found = [_of_labels(own, data.targets[rows], data.num_classes, told), _of_scaling(answers, data, rows, part)]
    return [max(explained).sentence] if (explained := [one for one in found if one is not None]) else []


def _spread(rows: Tensor, most: int) -> Tensor:
    """At most so many, the same ones each time, by chance: rows may be sorted by class."""
    return rows[_by_chance(len(rows))[:most].sort().values]


def _by_chance(count: int) -> Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(0))


def _of_labels(answers: Tensor, targets: Tensor, num_classes: int, told: str) -> Explanation | None:
    """Renumbered as half of the samples ask for, the other half shows whether it is more than luck."""
    found, shown = _by_chance(len(answers)).tensor_split(2)
    counts = torch.zeros(num_classes, num_classes)
    counts.index_put_((answers[found], targets[found]), torch.ones(len(answers[found])), accumulate=True)
    counts += 1e-3 * torch.eye(num_classes)  # a class that nothing speaks for stays what it is
    renumbered = torch.from_numpy(linear_sum_assignment(counts.numpy(), maximize=True)[1])
    right, better = answers[shown] == targets[shown], renumbered[answers[shown]] == targets[shown]
    if not _is_better(right, better):
        return None
    moved = torch.nonzero(renumbered != torch.arange(num_classes)).flatten().tolist()
    example = f"its class {moved[0]} is {int(renumbered[moved[0]])} here"
    accuracy = float(better.double().mean())
    return Explanation(
        accuracy,
        f"The teacher looks as if trained on another label order: {float(right.double().mean()):.2%} {told} are right, "
        f"and {accuracy:.2%} with its classes renumbered ({example}, and {len(moved) - 1} others).",
    )


def _of_scaling(answers: Callable[[Data, Tensor], Tensor], data: Data, rows: Tensor, part: str) -> Explanation | None:
    rows = _spread(rows, RESCALED)
    targets, unit = data.targets[rows], _to_unit(data, rows)
    if unit is None:
        return None
    right = answers(data, rows) == targets
    best, called = right, ""
    for name, change in _scalings(data, rows, unit):
        try:
            tried = answers(replace(data, prepare=_then(data, unit, change)), rows) == targets
        except UserError:
            raise
        except (RuntimeError, ValueError):  # a network of a user's own may check what it is given
            continue
        if int(tried.sum()) > int(best.sum()):
            best, called = tried, name
    if not called or not _is_better(right, best):
        return None
    accuracy = float(best.double().mean())
    return Explanation(
        accuracy,
        f"The teacher looks as if trained on another normalisation: {float(right.double().mean()):.2%} of "
        f"{len(rows):,} {part} samples are right as the dataset prepares them, and {accuracy:.2%} with {called}.",
    )


def _is_better(right: Tensor, other: Tensor) -> bool:
    """Whether the second is right on many more of the same samples, by McNemar's test."""
    won, lost = int((other & ~right).sum()), int((right & ~other).sum())
    return won - lost > max(POINTS * len(right), SIGMAS * math.sqrt(won + lost))


def _to_unit(data: Data, rows: Tensor) -> Rescale | None:
    """What takes images as a network is given them back to 0..1; None where that is not known, or there are none."""
    some = data.rows(rows).batch(0, 64, "cpu")
    if not isinstance(some, Tensor) or some.ndim != 4:
        return None
    if isinstance(data.prepare, Scaled):
        mean, deviation = data.prepare.mean.cpu(), data.prepare.deviation.cpu()
        return lambda given: given * deviation.to(given.device) + mean.to(given.device)
    in_unit = (
        data.prepare is None and some.is_floating_point() and float(some.min()) >= 0 and 0.1 < float(some.max()) <= 1
    )
    return (lambda given: given) if in_unit else None


def _scalings(data: Data, rows: Tensor, unit: Rescale) -> Iterator[tuple[str, Rescale]]:
    given = data.rows(rows).batch(0, len(rows), "cpu")
    assert isinstance(given, Tensor)
    deviation, mean = torch.std_mean(unit(given), dim=(0, 2, 3), keepdim=True)
    yield "values from 0 to 1", lambda one: one
    yield "values from -1 to 1", lambda one: 2 * one - 1
    yield "values from 0 to 255", lambda one: 255 * one
    yield "mean 0 and deviation 1 in each channel", Scaled(mean, deviation.clamp(min=1e-6), 1.0).of_one
    if given.shape[1] == 3:
        yield "ImageNet's mean and deviation", of_channels(IMAGENET_MEAN, IMAGENET_DEVIATION, 1.0).of_one


def _then(data: Data, unit: Rescale, change: Rescale) -> Callable[[Inputs], Inputs]:
    """The dataset's own preparation, undone, and another one."""
    own = data.prepare

    def prepared(raw: Inputs) -> Inputs:
        return each(raw if own is None else own(raw), lambda one: change(unit(one)))

    return prepared
