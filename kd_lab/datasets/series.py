"""Time series with classes, as the UCR/UEA archive has them: NAME_TRAIN.ts and NAME_TEST.ts.

Source: Dau et al. 2019 (UCR, arXiv:1810.07758), Bagnall et al. 2018 (UEA, arXiv:1811.00075).

Legend: N samples, C channels, T steps.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from kd_lab.datasets.common.readers.series import SeriesOf
from kd_lab.datasets.common.scaled import Scaled, ZNormed
from kd_lab.datasets.common.series_files import ENDINGS, Channels, Missing, Samples, filled, read_series, to_length
from kd_lab.datasets.common.splits import SplitSettings, assemble, cut
from kd_lab.errors import UserError, choices
from kd_lab.types import Augment, Data

_logger = logging.getLogger(__name__)

TRAIN, TEST = "_TRAIN", "_TEST"


class Pair(NamedTuple):
    """The two files of a set."""

    name: str
    train: Path
    test: Path


class Series:
    """Rows [N, C, T] float32, channels first; the official training and test sets.

    Labels are numbered in the order of their size where they are numbers (1, 2, 10), else of the alphabet, and kept as
    `class_names`.
    """

    def __init__(
        self,
        *,
        path: str,
        name: str | None = None,
        normalize: Literal["sample", "train", "none"] = "sample",
        length: int | None = None,
        missing: Missing = "refuse",
        labels: int | None = None,
        validation: int | float = 0,
        seed: int = 0,
        augment: Augment | None = None,
    ) -> None:
        """Checks the settings, reads nothing.

        Args:
            path: a folder that holds NAME_TRAIN.ts and NAME_TEST.ts (or .tsv, .txt), or a folder NAME with them; or the
                training file itself.
            name: which set; not needed where the folder holds one.
            normalize: each channel to mean 0 and standard deviation 1. sample: of each series by itself, as most of
                UCR's are already; train: with mean and deviation of the channel on what a student may see; none.
            length: all series get so many steps: longer ones are cut at their end, shorter ones go on with their last
                value. None: they have to be of one length.
            missing: what is done with values that are not there (?): interpolate draws a line between their neighbours
                of the same series and goes on with the nearest at the ends.
            labels: how many labels are kept, stratified; None keeps all.
            validation: a number of training series, or a fraction of them, cut before labels are hidden.
            seed: fixes the parts that are cut; the test set is the official one.
            augment: the batch transform that training may apply.

        Raises:
            ValueError: a value that no dataset can meet.
        """
        self._settings = SplitSettings(labels, validation, seed, augment)
        if not path:
            raise ValueError("Expected `path` to name a folder or a _TRAIN file, but got an empty string.")
        for key, value, known in (
            ("normalize", normalize, ("sample", "train", "none")),
            ("missing", missing, ("refuse", "interpolate")),
        ):
            if value not in known:
                raise ValueError(f"Expected `{key}` to be {', '.join(known[:-1])} or {known[-1]}, but got {value}.")
        if length is not None and length < 1:
            raise ValueError(f"Expected `length` to be at least 1, or null for that of the series, but got {length}.")
        self._path, self._name = path, name
        self._normalize, self._length, self._missing = normalize, length, missing
        self._key = f"dataset.path={path}"

    def load(self) -> Data:
        """Reads the two files and cuts the points.

        Raises:
            UserError: no such set, files that are damaged or do not fit each other, values that are missing, or series
                of several lengths.
        """
        pair = find(Path(self._path).expanduser(), self._name, self._key)
        train, test = (read_series(file, self._key) for file in (pair.train, pair.test))
        classes = _numbered(train.labels)
        targets = torch.tensor(self._numbers(train, pair.train, classes) + self._numbers(test, pair.test, classes))
        if len(classes) < 2:
            raise UserError(f"{self._key}: {pair.name} holds the label {classes[0]} only, expected at least 2 classes.")
        raw = self._rows(pair, train, test)
        rows = torch.arange(len(targets))
        count = len(train.labels)
        targets, parts = cut(targets, rows[:count], rows[count:], len(classes), self._settings)
        from_raw = self._normalizing(raw[parts.transfer])
        data = assemble(
            pair.name,
            raw if from_raw is None else from_raw.of_one(raw),
            targets,
            parts,
            num_classes=len(classes),
            augment=self._settings.augment,
            from_raw=from_raw,
            class_names=classes,
        )
        shape = tuple(raw.shape[1:])
        return replace(data, reader=SeriesOf(length=self._length, missing=self._missing, input_shape=shape))

    def _numbers(self, samples: Samples, file: Path, classes: Sequence[str]) -> list[int]:
        """The class of each sample."""
        number = {label: place for place, label in enumerate(classes)}
        for label, line in zip(samples.labels, samples.lines, strict=True):
            if label not in number:
                raise UserError(
                    f"{self._key}: {file.name}, line {line} has the label {label}, which no series in the training "
                    f"file has ({', '.join(classes[:10])}{', ...' * (len(classes) > 10)}); take such series away."
                )
        return [number[label] for label in samples.labels]

    def _rows(self, pair: Pair, train: Samples, test: Samples) -> Tensor:
        """All series [N, C, T], those for training first."""
        for file, samples in ((pair.train, train), (pair.test, test)):
            for series, line in zip(samples.series, samples.lines, strict=True):
                filled(series, f"{self._key}: {file.name}, line {line}", self._missing)
        together = [*train.series, *test.series]
        channels = {len(series) for series in together}
        if len(channels) > 1:
            raise UserError(
                f"{self._key}: {pair.train.name} has series of {len(train.series[0])} channels, {pair.test.name} of "
                f"{len(test.series[0])}; expected as many in both."
            )
        return torch.from_numpy(self._of_one_length(pair, together))

    def _of_one_length(self, pair: Pair, together: list[Channels]) -> np.ndarray:
        lengths = [len(channel) for series in together for channel in series]
        shortest, longest = min(lengths), max(lengths)
        length = self._length
        if length is None and shortest < longest:
            raise UserError(
                f"{self._key}: the series of {pair.name} have {shortest} to {longest} steps, expected all alike; "
                f"dataset.length={longest} lets shorter ones go on with their last value, a smaller number cuts the "
                "longer ones."
            )
        if length is not None and {shortest, longest} != {length}:
            short, long = (sum(sign * (one - length) > 0 for one in lengths) for sign in (-1, 1))
            _logger.warning(
                "%s: of %d channels with %d to %d steps, %d are cut to %d and %d go on with their last value.",
                *(f"dataset.length={length}", len(lengths), shortest, longest, long, length, short),
            )
        return np.stack([np.stack([to_length(one, length or longest) for one in series]) for series in together])

    def _normalizing(self, seen: Tensor) -> Scaled | ZNormed | None:
        if self._normalize == "none":
            return None
        if self._normalize == "sample":
            return ZNormed()
        variance, mean = torch.var_mean(seen.double(), dim=(0, 2), correction=0, keepdim=True)
        return Scaled(mean, torch.where(variance > 0, variance.sqrt(), 1), 1.0)


def find(path: Path, name: str | None, key: str) -> Pair:
    """The two files of a set.

    Args:
        path: a folder, or the training file.
        name: of the set; None where there is one only.
        key: what messages start with.

    Raises:
        UserError: there is no such set, several, or one file of two.
    """
    if path.is_file():
        stem, ending = path.stem, path.suffix
        if not stem.endswith(TRAIN) or ending not in ENDINGS:
            raise UserError(
                f"{key}: expected a folder or a file NAME{TRAIN} with the ending {', '.join(ENDINGS)}; an .npz file is "
                "read by dataset=arrays."
            )
        if name not in {None, stem.removesuffix(TRAIN)}:
            raise UserError(f"dataset.name={name}: {path} is of {stem.removesuffix(TRAIN)}; name its folder instead.")
        return _pair(path, key)
    if not path.is_dir():
        raise UserError(f"{key}: there is no such folder, expected one that holds NAME{TRAIN}.ts and NAME{TEST}.ts.")
    there = _sets(path)
    if name is not None and name not in there:
        raise UserError(f"dataset.name={name}: {path} has no {name}{TRAIN}.ts; {_known(name, there)}")
    if name is None and len(there) != 1:
        todo = f"choose one: dataset.name={min(there)} (known: {_few(there)})" if there else _known("", there)
        raise UserError(f"{key}: holds {len(there)} sets, {todo}")
    return _pair(there[name or next(iter(there))], key)


def _sets(folder: Path) -> dict[str, Path]:
    """The training files in a folder and those below it, by the name of their set."""
    found: dict[str, Path] = {}
    for ending in ENDINGS:
        for file in sorted([*folder.glob(f"*{TRAIN}{ending}"), *folder.glob(f"*/*{TRAIN}{ending}")]):
            found.setdefault(file.stem.removesuffix(TRAIN), file)
    return found


def _pair(train: Path, key: str) -> Pair:
    name = train.stem.removesuffix(TRAIN)
    test = train.with_name(f"{name}{TEST}{train.suffix}")
    if not test.is_file():
        raise UserError(f"{key}: {train.name} is there but no {test.name}, put it beside.")
    return Pair(name, train, test)


def _known(name: str, there: dict[str, Path]) -> str:
    if not there:
        return f"expected files such as GunPoint{TRAIN}.ts and GunPoint{TEST}.ts in it or in a folder of it."
    near = choices(name, sorted(there)).partition(" (known")[0]
    return f"{near} (known: {_few(there)})" if near.startswith("did") else f"expected one of {_few(there)}"


def _few(names: dict[str, Path]) -> str:
    return ", ".join(sorted(names)[:20]) + f", and {len(names) - 20} more" * (len(names) > 20)


def _numbered(labels: Sequence[str]) -> list[str]:
    """The labels, each once, in the order of their numbers."""
    different = set(labels)
    try:
        return sorted(different, key=lambda label: (float(label), label))
    except ValueError:
        return sorted(different)
