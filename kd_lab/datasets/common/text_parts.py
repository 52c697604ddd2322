"""The parts that a dataset of text comes in, each in a file or a split of its own, with classes by number."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from kd_lab.datasets.common.text_files import Rows
from kd_lab.errors import UserError, choices
from kd_lab.types import UNLABELLED

NO_LABEL = ("", "-1")
"""What stands where a label is unknown."""
TRAIN, TEST, VALIDATION, UNLABELLED_PART = "train", "test", "validation", "unlabelled"
ORDER = (TRAIN, TEST, VALIDATION, UNLABELLED_PART)
MOST_NUMBERS = 20
"""More numbers than these that are not whole are no classes."""


class Part(NamedTuple):
    """Rows of one file or split; setting: what messages about them start with, as in `dataset.path=my.csv`."""

    rows: Rows
    setting: str


def without_empty(part: Part, *, drop: bool) -> tuple[Part, int]:
    """The part without rows that have no text, and how many they were.

    Raises:
        UserError: there are some and they may not be dropped, or there are no others.
    """
    rows = part.rows
    pairs = zip(rows.texts, rows.second or rows.texts, strict=True)
    empty = [row for row, (one, other) in enumerate(pairs) if not one or not other]
    if empty and not drop:
        raise UserError(
            f"{part.setting}: row {empty[0]} has no text ({len(empty):,} of {len(rows):,} have none); fill it in, or "
            "set dataset.drop_empty=true to leave such rows out."
        )
    if len(empty) == len(rows):
        raise UserError(f"{part.setting}: no row has a text; expected another column (dataset.text).")
    left = sorted({*range(len(rows))} - {*empty})
    return part._replace(rows=rows.kept(left)), len(empty)


def class_order(train: Part, chosen: Sequence[str] | None) -> tuple[str, ...]:
    """The classes in the order of their numbers: as chosen, as the file has it, by value of numbers, else by name.

    Raises:
        UserError: there are fewer than two, too many to be classes, or another one was chosen than there are.
    """
    found = {*train.rows.labels} - {*NO_LABEL}
    if chosen is not None:
        missing = next((name for name in chosen if name not in found), None)
        if missing is not None or len({*chosen}) < max(len(chosen), 2):
            why = "expected at least two, each once" if missing is None else f"no row has the label {missing}"
            raise UserError(f"dataset.classes={[*chosen]}: {why}.")
        return tuple(chosen)
    if train.rows.names:
        return train.rows.names
    if len(found) < 2:
        held = f"only the class {next(iter(found))}" if found else "no label at all"
        raise UserError(f"{train.setting}: it holds {held}, expected at least 2 classes.")
    if all(name.isdecimal() for name in found):
        return tuple(sorted(found, key=lambda name: (int(name), name)))
    labelled = sum(label not in NO_LABEL for label in train.rows.labels)
    if (len(found) > MOST_NUMBERS and all(map(_is_number, found))) or (len(found) > 2 and 2 * len(found) > labelled):
        raise UserError(
            f"{train.setting}: {labelled:,} labels hold {len(found):,} different values, such as {min(found)[:40]}; "
            "expected classes, choose another column (dataset.label)."
        )
    return tuple(sorted(found))


def all_targets(parts: Mapping[str, Part], names: Sequence[str]) -> dict[str, Tensor]:
    """The targets [N] int64 of each part in `ORDER`, `UNLABELLED` where there is no label.

    Raises:
        UserError: a label is none of the names, or one is missing in a part that is measured.
    """
    return {name: _targets(parts[name], name, names) for name in ORDER if name in parts}


def _targets(part: Part, name: str, names: Sequence[str]) -> Tensor:
    if name == UNLABELLED_PART:
        return torch.full((len(part.rows),), UNLABELLED)
    numbers = {one: number for number, one in enumerate(names)} | dict.fromkeys(NO_LABEL, UNLABELLED)
    for row, label in enumerate(part.rows.labels):
        if label not in numbers:
            raise UserError(
                f"{part.setting}: row {row} has the label {label[:40]}, which is no class of the training part; "
                f"{choices(label, [*names][:20])}"
            )
        if label in NO_LABEL and name != TRAIN:
            raise UserError(f"{part.setting}: row {row} has no label, and this part is measured; give it one.")
    return torch.tensor([numbers[label] for label in part.rows.labels], dtype=torch.int64)


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
