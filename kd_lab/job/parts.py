"""What the data of a job are, and what each part of them is for: a line at its start, a table in `kd-lab doctor`."""

from typing import NamedTuple

import torch
from rich.table import Table

from kd_lab.inputs import facts
from kd_lab.job.plan import Plan
from kd_lab.job.specs import TRAIN, TRANSFER
from kd_lab.outside.text import listed
from kd_lab.types import UNLABELLED, Data


class Part(NamedTuple):
    """A part of the data, its rows, and whom or what it is for in this job; nothing where it is not used."""

    name: str
    rows: torch.Tensor
    purpose: str

    def of_class(self, data: Data) -> str:
        """Labelled samples of the smallest class and of the largest: `10`, `9 to 11`, `-` where there are none."""
        counts = self._counts(data)
        least, most = int(counts.min()), int(counts.max())
        return "-" if not most else f"{least:,}" if least == most else f"{least:,} to {most:,}"

    def labelled(self, data: Data) -> int:
        """How many samples have a label that is known."""
        return int(self._counts(data).sum())

    def largest(self, data: Data) -> float:
        """The share of the largest class, 0..1: what answering it alone would reach."""
        counts = self._counts(data)
        return int(counts.max()) / max(int(counts.sum()), 1)

    def _counts(self, data: Data) -> torch.Tensor:
        targets = data.targets[self.rows]
        return torch.bincount(targets[targets != UNLABELLED], minlength=data.num_classes)


def parts(plan: Plan) -> list[Part]:
    """All four, in the order in which a job comes to them."""
    data, seen, specs = plan.data, plan.seen, plan.specs
    taught = specs.teacher is not None and specs.teacher.is_trained
    on_labels = [
        *(["the teacher"] if taught else []),
        *(["the student alone"] if specs.baseline is not None else []),
        *(["the student"] if plan.student_part() == TRAIN else []),
    ]
    return [
        Part(TRAIN, data.train if taught else seen.train, listed(on_labels)),
        Part(TRANSFER, seen.transfer, "the student" if plan.student_part() == TRANSFER else ""),
        Part("validation", data.validation, "validation"),
        Part("test", data.test, "the test"),
    ]


def sentence(plan: Plan) -> str:
    """`digits: 1x8x8 float32, 10 classes (10 labelled of each); 100 labelled for the teacher, ...`."""
    train, *others = parts(plan)
    used = [part for part in (train, *others) if part.purpose]
    told = [f"{len(part.rows):,}{' labelled' * (part is train)} for {part.purpose}" for part in used]
    return f"{_head(plan.data)} ({train.of_class(plan.data)} labelled of each); {', '.join(told)}"


def _head(data: Data) -> str:
    """`digits: 1x8x8 float32, 10 classes`, by name where a sample has several parts."""

    def one(tensor: torch.Tensor) -> str:
        return f"{'x'.join(map(str, tensor.shape[1:])) or 'one number'} {str(tensor.dtype).removeprefix('torch.')}"

    found = facts(data.example(1), one)
    shown = found if isinstance(found, str) else ", ".join(f"{name} {each}" for name, each in found.items())
    return f"{data.name}: {shown}, {data.num_classes} classes"


def table(plan: Plan) -> Table:
    """Each part: how many samples, how many of a class, the share of the largest, and what it is for."""
    data = plan.data
    drawn = Table(title=_head(data), title_justify="left")
    for column in ("part", "samples", "labelled", "of a class", "largest, %", "for"):
        drawn.add_column(column, justify="left" if column in {"part", "for"} else "right")
    for part in parts(plan):
        count = part.labelled(data)
        share = f"{100 * part.largest(data):.1f}" if count else "-"
        numbers = (f"{len(part.rows):,}", f"{count:,}", part.of_class(data), share)
        drawn.add_row(part.name, *numbers, part.purpose or "not used by this job")
    return drawn
