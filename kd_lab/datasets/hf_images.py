"""Pictures of a Hugging Face dataset: one of the Hub by its name, or a folder with parquet files or pictures."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from kd_lab.datasets.common.held_out import check_test, cut_off
from kd_lab.datasets.common.hub import PictureTable, Table, load_splits
from kd_lab.datasets.common.pictures import IMAGENET_DEVIATION, IMAGENET_MEAN, Shown, held, normalised
from kd_lab.datasets.common.readers.pictures import PicturesOf
from kd_lab.datasets.common.splits import (
    SplitSettings,
    assemble_read,
    check_every_class,
    cut,
)
from kd_lab.errors import UserError
from kd_lab.types import Augment, Data


class HfImages:
    """Color pictures, shown as [N, 3, size, size] uint8; a network is given (value / 255 - mean) / deviation.

    Splits called test and validation (or val, valid) are those parts; with validation alone, that is the test. Without
    either, the test is cut from train. Classes are those of the label column, numbered as it numbers them, or by name
    where labels are text. Read as those of `image_folder` are.
    """

    def __init__(
        self,
        *,
        path: str,
        config: str | None = None,
        image: str | None = None,
        label: str | None = None,
        train_split: str = "train",
        validation_split: str | None = None,
        test_split: str | None = None,
        size: int = 224,
        resize: int | None = None,
        mean: Sequence[float] = IMAGENET_MEAN,
        deviation: Sequence[float] = IMAGENET_DEVIATION,
        labels: int | None = None,
        validation: int | float = 0,
        test: int | float = 0.2,
        memory_mb: int = 256,
        seed: int = 0,
        augment: Augment | None = None,
    ) -> None:
        """Checks the settings, reads nothing.

        Args:
            path: a folder, or a name on the Hub, which is downloaded into the library's own cache.
            config: which of the dataset's configurations; None: the only one.
            image: the column of pictures; None: the only one of that kind.
            label: the column of classes; None: the only one of that kind, or the one called label.
            train_split: what is learned from.
            validation_split: the validation part; None: the one of that name, if there is one.
            test_split: the test; None: the one of that name, else that of validation.
            size: height and width of what a network is given, in pixels.
            resize: the short side of a picture before the middle is cut out; None: 256/224 of `size`.
            mean: of each channel, from 0 to 1.
            deviation: the same.
            labels: how many labels are kept, stratified; None keeps all.
            validation: a number of labelled points or a fraction of them, cut from train before labels are hidden.
            test: the same for the test, where there is no split for it.
            memory_mb: pictures lie in memory where all of them, as they are shown, take at most so many MiB.
            seed: fixes the parts.
            augment: the batch transform that training may apply.

        Raises:
            ValueError: a value that no dataset can meet.
        """
        self._settings = SplitSettings(labels, validation, seed, augment)
        self._shown, self._prepare = Shown(size, resize), normalised(mean, deviation)
        check_test(test)
        self._path, self._config, self._columns = path, config, (image, label)
        self._splits = (train_split, validation_split, test_split)
        self._test, self._memory_mb, self._key = test, memory_mb, f"dataset.path={path}"

    def load(self) -> Data:
        """Loads the splits and cuts the points.

        Raises:
            UserError: the library is not installed, the dataset is not there or not as described, or the settings ask
                for more points than there are.
        """
        tables = self._tables()
        targets = torch.cat([table.targets for table in tables])
        own, validation, test = torch.split(torch.arange(len(targets)), [len(table) for table in tables])
        num_classes = len(tables[0].classes)
        check_every_class(targets, own, num_classes, self._key)
        if len(validation) and self._settings.validation:
            raise UserError(
                f"dataset.validation={self._settings.validation}: {self._path} has splits for validation and test "
                "already, leave it away."
            )
        if not len(test):
            own, test = cut_off(targets, own, self._test, self._settings.seed, "pictures")
        targets, parts = cut(targets, own, test, num_classes, self._settings)
        if len(validation):
            parts = replace(parts, validation=validation)
        pictures, augment = PictureTable(tables, self._shown, self._key), self._settings.augment
        data = assemble_read(
            "hf_images",
            held(pictures, len(targets), self._memory_mb, augment),
            repr(self._shown).encode() + pictures.digest(),
            targets,
            parts,
            num_classes=num_classes,
            augment=augment,
            prepare=self._prepare,
        )
        reader = PicturesOf(size=self._shown.size[0], short=self._shown.short, column=tables[0].column)
        return replace(data, class_names=tuple(tables[0].classes), reader=reader)

    def _tables(self) -> list[Table]:
        """Train, validation and test; empty ones where there are none."""
        found = load_splits(self._path, self._config, self._key, "hf")
        names = self._named(found)
        first = Table.of(found[names[0]], self._columns, self._key)
        others = [
            Table.of(found[name], self._columns, self._key, like=first) if name else first.none() for name in names[1:]
        ]
        return [first, *others]

    def _named(self, found: Any) -> list[str]:
        train, validation, test = self._splits
        for key, name in (("train_split", train), ("validation_split", validation), ("test_split", test)):
            if name is not None and name not in found:
                raise UserError(
                    f"dataset.{key}={name}: {self._path} has no such split, expected one of {', '.join(found)}."
                )
        others = [name for name in found if name != train]
        held_out = validation or next((n for n in ("validation", "valid", "val") if n in others), "")
        last = test or next((n for n in ("test",) if n in others), "")
        return [train, held_out, last] if last else [train, "", held_out]
