"""Pictures in folders of classes: which files there are, of which class, and for which part."""

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from kd_lab.datasets.common.sampled import SMALL, evenly
from kd_lab.errors import UserError

TRAIN, VALIDATION, TEST = "train", "val", "test"
ANNOTATIONS = "val_annotations.txt"
"""Of Tiny-ImageNet: file name, class, and four numbers of a box, with tabs between them."""


@dataclass(frozen=True)
class Files:
    """Files below a folder, by class.

    names: from the folder on. targets: [N] int64. parts: how many of them, in their order, are train, val and test.
    """

    folder: Path
    classes: list[str]
    names: list[str]
    targets: Tensor
    parts: tuple[int, int, int]

    def without(self, names: Iterable[str]) -> "Files":
        """Without some of them."""
        left_out = set(names)
        kept = torch.tensor([name not in left_out for name in self.names])
        train, val, test = (int(one.sum()) for one in torch.split(kept, list(self.parts)))
        left = [name for name, keep in zip(self.names, kept.tolist(), strict=True) if keep]
        return Files(self.folder, self.classes, left, self.targets[kept], (train, val, test))

    def digest(self) -> bytes:
        """A sha256 over classes, names and sizes in bytes of all files, and the content of all or of some.

        Of all where they have at most `SMALL` bytes together; else of some: a file that was changed and kept its
        size is then seen only if it is one of these. When a file was written does not matter: a copy is the same data.

        Raises:
            OSError: a file is gone, or must not be read.
        """
        paths = [self.folder / name for name in self.names]
        sizes = [path.stat().st_size for path in paths]
        digest = hashlib.sha256("\0".join(self.classes).encode(errors="surrogateescape"))
        for name, size in zip(self.names, sizes, strict=True):
            digest.update(f"{name}\0{size}\n".encode(errors="surrogateescape"))
        for number in range(len(paths)) if sum(sizes) <= SMALL else evenly(len(paths)).tolist():
            digest.update(hashlib.sha256(paths[number].read_bytes()).digest())
        return digest.digest()


def find(root: Path, setting: str) -> Files:
    """The pictures below a folder.

    Args:
        root: it holds train and val or test, or both of them; or nothing but classes.
        setting: what messages start with, as in `dataset.path=DIR`.

    Raises:
        UserError: no such folder, nothing in it, a class without a picture, or parts with other classes.
    """
    if not root.is_dir():
        raise UserError(f"{setting}: there is no such folder; name one with train and val, or with a folder per class.")
    try:
        return _in_parts(root, setting) if (root / TRAIN).is_dir() else _of_classes(root, setting)
    except OSError as error:
        raise UserError(f"{setting}: cannot be read ({error.strerror or error}: {error.filename}).") from error


def _of_classes(root: Path, setting: str) -> Files:
    classes = _classes(root, setting)
    names, targets = _pictures(root, root, classes, setting)
    return Files(root, classes, names, torch.tensor(targets), (len(names), 0, 0))


def _in_parts(root: Path, setting: str) -> Files:
    classes = _classes(root / TRAIN, setting)
    found = [_pictures(root, root / TRAIN, classes, setting)]
    for part in (VALIDATION, TEST):
        folder = root / part
        if (folder / ANNOTATIONS).is_file():
            found.append(_annotated(root, folder, classes, setting))
        elif folder.is_dir() and (part == VALIDATION or _has_labels(folder, classes)):
            _check_same(classes, _classes(folder, setting), part, setting)
            found.append(_pictures(root, folder, classes, setting))
        else:
            found.append(([], []))
    names = [name for part_names, _ in found for name in part_names]
    targets = torch.tensor([target for _, part_targets in found for target in part_targets])
    sizes = (len(found[0][0]), len(found[1][0]), len(found[2][0]))
    return Files(root, classes, names, targets, sizes)


def _has_labels(folder: Path, classes: Sequence[str]) -> bool:
    """Whether a test folder is more than pictures without a class, as ImageNet's and Tiny-ImageNet's are."""
    return any(name in classes for name in _folders(folder)) or len(_folders(folder)) > 1


def _folders(folder: Path) -> list[str]:
    from torchvision.datasets.folder import find_classes

    try:
        found: list[str] = find_classes(folder)[0]
    except FileNotFoundError:
        return []
    return [name for name in found if not name.startswith(".")]


def _classes(folder: Path, setting: str) -> list[str]:
    found = _folders(folder)
    if len(found) < 2:
        raise UserError(
            f"{setting}: expected at least two folders of pictures in {folder}, one for each class, but it holds "
            f"{'none' if not found else f'only {found[0]}'}."
        )
    return found


def _pictures(root: Path, folder: Path, classes: Sequence[str], setting: str) -> tuple[list[str], list[int]]:
    """Names below the root, and classes; every class has one."""
    from torchvision.datasets.folder import IMG_EXTENSIONS, make_dataset

    numbers = {name: number for number, name in enumerate(classes)}
    found = make_dataset(folder, numbers, IMG_EXTENSIONS, allow_empty=True)
    targets = [target for _, target in found]
    empty = [name for name, count in zip(classes, _counts(targets, len(classes)), strict=True) if not count]
    if empty:
        raise UserError(
            f"{setting}: the class folder {folder / empty[0]} holds no picture ({len(empty)} of {len(classes)} classes "
            f"have none), expected files such as {', '.join(IMG_EXTENSIONS)}."
        )
    return [os.path.relpath(path, root) for path, _ in found], targets


def _counts(targets: list[int], classes: int) -> list[int]:
    counts: list[int] = torch.bincount(torch.tensor(targets, dtype=torch.int64), minlength=classes).tolist()
    return counts


def _check_same(classes: Sequence[str], other: Sequence[str], part: str, setting: str) -> None:
    missing, extra = sorted({*classes} - {*other}), sorted({*other} - {*classes})
    if missing or extra:
        told = [f"{len(names)} {what}, such as {names[0]}" for names, what in _unequal(missing, extra, part) if names]
        raise UserError(
            f"{setting}: train and {part} have different class folders ({'; '.join(told)}); expected the same ones."
        )


def _unequal(missing: list[str], extra: list[str], part: str) -> list[tuple[list[str], str]]:
    return [(missing, "in train alone"), (extra, f"in {part} alone")]


def _annotated(root: Path, folder: Path, classes: Sequence[str], setting: str) -> tuple[list[str], list[int]]:
    """As Tiny-ImageNet has its validation part: pictures in one folder, their classes in a file."""
    numbers = {name: number for number, name in enumerate(classes)}
    names, targets = [], []
    there = set(os.listdir(folder / "images")) if (folder / "images").is_dir() else set()
    lines = (folder / ANNOTATIONS).read_text(encoding="utf-8", errors="replace").splitlines()
    for number, line in enumerate(lines, start=1):
        name, _, rest = line.partition("\t")
        label = rest.partition("\t")[0]
        if label not in numbers or name not in there:
            wrong = f"{label} is no class folder of train" if label not in numbers else f"images holds no {name}"
            raise UserError(
                f"{setting}: {folder / ANNOTATIONS}, line {number}: {wrong}; expected a picture of {folder / 'images'} "
                "and its class, with a tab between them."
            )
        names.append(os.path.relpath(folder / "images" / name, root))
        targets.append(numbers[label])
    if not names:
        raise UserError(f"{setting}: {folder / ANNOTATIONS} is empty, expected a line for each picture.")
    return names, targets
