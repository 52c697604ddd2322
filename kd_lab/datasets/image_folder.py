"""The user's own pictures in folders of classes, of any size and number: ImageNet, Tiny-ImageNet, one's own."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from kd_lab.datasets.common.checked import unreadable
from kd_lab.datasets.common.folders import Files, find
from kd_lab.datasets.common.held_out import check_test, cut_off
from kd_lab.datasets.common.pictures import (
    IMAGENET_DEVIATION,
    IMAGENET_MEAN,
    PictureFiles,
    Shown,
    held,
    normalised,
)
from kd_lab.datasets.common.readers.pictures import PicturesOf
from kd_lab.datasets.common.splits import (
    Parts,
    SplitSettings,
    assemble_read,
    cut,
)
from kd_lab.errors import UserError
from kd_lab.types import Augment, Data

_logger = logging.getLogger(__name__)


class ImageFolder:
    """Color pictures, shown as [N, 3, size, size] uint8; a network is given (value / 255 - mean) / deviation.

    The folder holds train and val or test, each with one folder for each class, which may have folders of its own;
    classes are numbered by name. With val and test, val is the validation part; with one of the two, that is the test,
    as ImageNet's val is in every table. Of Tiny-ImageNet, val may be as it was published, with val_annotations.txt; a
    test folder of pictures without classes is not used. A folder of classes alone is cut as `validation` and `test`
    say.

    Pictures are read when they are wanted, by the trainer's workers; those of a small folder lie in memory, unless the
    augmentation cuts from whole pictures, as random_resized_crop does. Everything but an augmented training sees the
    middle of each.
    """

    def __init__(
        self,
        *,
        path: str,
        size: int = 224,
        resize: int | None = None,
        mean: Sequence[float] = IMAGENET_MEAN,
        deviation: Sequence[float] = IMAGENET_DEVIATION,
        labels: int | None = None,
        validation: int | float = 0,
        test: int | float = 0.2,
        skip_corrupt: bool = False,
        memory_mb: int = 256,
        seed: int = 0,
        augment: Augment | None = None,
    ) -> None:
        """Checks the settings, reads nothing.

        Args:
            path: the folder.
            size: height and width of what a network is given, in pixels.
            resize: the short side of a picture before the middle is cut out; None: 256/224 of `size`.
            mean: of each channel, from 0 to 1.
            deviation: the same.
            labels: how many labels are kept, stratified; None keeps all.
            validation: a number of labelled points or a fraction of them, cut from train before labels are hidden; not
                where the folder has both val and test.
            test: the same for the test, of a folder of classes alone.
            skip_corrupt: look at every picture once and leave out those that cannot be read; what was found is kept in
                ~/.cache/kd-lab/checked.
            memory_mb: pictures lie in memory where all of them, as they are shown, take at most so many MiB.
            seed: fixes the parts.
            augment: the batch transform that training may apply.

        Raises:
            ValueError: a value that no dataset can meet.
        """
        self._settings = SplitSettings(labels, validation, seed, augment)
        self._shown, self._prepare = Shown(size, resize), normalised(mean, deviation)
        check_test(test)
        if memory_mb < 0:
            raise ValueError(f"Expected `memory_mb` to be >= 0, but got {memory_mb}.")
        self._path, self._test, self._skip, self._memory_mb = path, test, skip_corrupt, memory_mb
        self._key = f"dataset.path={path}"

    def load(self) -> Data:
        """Finds the files and cuts the points; pictures are read where they are to lie in memory.

        Raises:
            UserError: the folder is not as described, a picture cannot be read, or the settings ask for more points
                than there are.
        """
        files = find(Path(self._path).expanduser(), self._key)
        files = self._readable(files) if self._skip else files
        num_classes = len(files.classes)
        targets, parts = self._cut(files, num_classes)
        pictures = PictureFiles(files.folder, files.names, self._shown, self._key)
        augment = self._settings.augment
        data = assemble_read(
            "image_folder",
            held(pictures, len(files.names), self._memory_mb, augment),
            repr(self._shown).encode() + self._digest(files),
            targets,
            parts,
            num_classes=num_classes,
            augment=augment,
            prepare=self._prepare,
        )
        reader = PicturesOf(size=self._shown.size[0], short=self._shown.short)
        return replace(data, class_names=tuple(files.classes), reader=reader)

    def _digest(self, files: Files) -> bytes:
        try:
            return files.digest()
        except OSError as error:
            raise UserError(f"{self._key}: {error.filename} cannot be read ({error.strerror}).") from error

    def _readable(self, files: Files) -> Files:
        """Those that are pictures; the others are told."""
        damaged = unreadable(files.folder, files.names)
        if not damaged:
            return files
        _logger.warning(
            "dataset.skip_corrupt=true: %d of %d pictures cannot be read and are left out, the first %s",
            len(damaged),
            len(files.names),
            damaged[0],
        )
        return files.without(damaged)

    def _cut(self, files: Files, num_classes: int) -> tuple[Tensor, Parts]:
        own, validation, test = torch.split(torch.arange(len(files.names)), list(files.parts))
        if len(validation) and not len(test):
            validation, test = test, validation
        if len(validation) and self._settings.validation:
            raise UserError(
                f"dataset.validation={self._settings.validation}: {self._path} has val and test already, leave it away."
            )
        if not len(test):
            own, test = cut_off(files.targets, own, self._test, self._settings.seed, "pictures")
        targets, parts = cut(files.targets, own, test, num_classes, self._settings)
        return targets, replace(parts, validation=validation) if len(validation) else parts
