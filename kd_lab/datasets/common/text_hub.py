"""Texts out of a dataset of Hugging Face: by its name, or a folder that holds one."""

from dataclasses import replace
from typing import Any

from kd_lab.datasets.common.hub import load_splits
from kd_lab.datasets.common.text_files import Columns, rows_of
from kd_lab.datasets.common.text_parts import TEST, TRAIN, UNLABELLED_PART, VALIDATION, Part
from kd_lab.errors import UserError

USUAL = {
    TRAIN: ("train",),
    TEST: ("test",),
    VALIDATION: ("validation", "val", "dev"),
    UNLABELLED_PART: ("unsupervised", "unlabelled"),
}
"""What the parts are called there."""


def read_splits(name: str, subset: str | None, wanted: Columns) -> dict[str, Part]:
    """The parts of a dataset; its other splits are not read.

    Args:
        name: as on the hub, or a folder: as `save_to_disk` writes it, or with parquet, CSV or JSON files.
        subset: where it has several.
        wanted: the columns.

    Raises:
        UserError: `datasets` is not installed, there is no such dataset, or it lacks a split or a column.
    """
    setting = f"dataset.hub={name}"
    splits = load_splits(name, subset, setting, "text")
    if "train" not in splits:
        raise UserError(f"{setting}: expected a split named train, but it has {', '.join(splits)}.")
    there = {part: next((key for key in keys if key in splits), None) for part, keys in USUAL.items()}
    return {
        part: _part(splits[key], f"{setting} ({key})", wanted, labelled=part != UNLABELLED_PART)
        for part, key in there.items()
        if key is not None
    }


def _part(split: Any, setting: str, wanted: Columns, *, labelled: bool) -> Part:
    rows = rows_of(split.to_pandas(), setting, wanted, labelled=labelled)
    names = tuple(getattr(split.features.get(rows.columns.label), "names", None) or ())
    if names:  # classes that are kept by their numbers
        labels = [names[int(label)] if label.isdecimal() else "" for label in rows.labels]
        rows = replace(rows, labels=labels, names=names)
    return Part(rows, setting)
