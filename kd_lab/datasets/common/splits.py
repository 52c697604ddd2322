"""How a dataset is cut into its parts: the same data seed gives the same parts, on every machine."""

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kd_lab.errors import UserError
from kd_lab.inputs import Inputs, shapes, tensors
from kd_lab.types import UNLABELLED, Augment, Data, InMemory, Prepare, Source, Undoes, read_as


@dataclass(frozen=True)
class SplitSettings:
    """What every dataset takes.

    labels: how many labels are kept for training, stratified; None keeps all. validation: how many labelled points
    (whole number) or which fraction of them (0 <= fraction < 1) is cut from the training pool before labels are
    hidden. seed: the data seed. augment: the batch transform that keeps this data's labels true.
    """

    labels: int | None
    validation: int | float
    seed: int
    augment: Augment | None = None

    def __post_init__(self) -> None:
        """Checks the values.

        Raises:
            ValueError: a value that no dataset can meet.
        """
        if self.labels is not None and self.labels < 1:
            raise ValueError(f"Expected `labels` to be >= 1, or null for all, but got {self.labels}.")
        check_size("validation", self.validation)
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"Expected `seed` to be from 0 to 4294967295, but got {self.seed}.")


@dataclass(frozen=True)
class Parts:
    """Row numbers of a dataset's parts, int64, each in rising order; see `kd_lab.types.Data`."""

    train: Tensor
    transfer: Tensor
    validation: Tensor
    test: Tensor


def check_size(name: str, size: int | float) -> None:
    """Checks the size of a part: a number of points, or a fraction.

    Raises:
        ValueError: a negative number, or a fraction that is not in 0 <= fraction < 1.
    """
    if isinstance(size, float) and not 0 <= size < 1:
        raise ValueError(f"Expected `{name}` to be a fraction from 0 to below 1 or a whole number, but got {size}.")
    if size < 0:
        raise ValueError(f"Expected `{name}` to be >= 0, but got {size}.")


def count_of(size: int | float, total: int) -> int:
    """The number of points in a part: a fraction is rounded up."""
    return math.ceil(size * total) if isinstance(size, float) else size


def stratified(targets: Tensor, rows: Tensor, first: int, seed: int, setting: str) -> tuple[Tensor, Tensor]:
    """Cuts rows in two, each class in proportion, with scikit-learn's `train_test_split`.

    Args:
        targets: [N] int64, the targets of the whole dataset.
        rows: [R] int64, the labelled rows to cut; their order matters for which points go where.
        first: how many rows the first part gets, 0 < first <= R.
        seed: the data seed.
        setting: the key and value that the message blames, as in `dataset.validation=0.5`.

    Returns:
        The first part [first] and the second [R - first], int64, in random order.

    Raises:
        UserError: a part is too small to hold a point of each class, or a class has one point only.
    """
    from sklearn.model_selection import train_test_split

    second = len(rows) - first
    if second == 0:
        return rows, rows[:0]
    classes = targets[rows].numpy()
    try:
        one, two = train_test_split(
            rows.numpy(), train_size=first, test_size=second, stratify=classes, random_state=seed
        )
    except ValueError as error:
        raise UserError(
            f"{setting}: {len(rows)} labelled points cannot be cut into {first} and {second} with every class on both "
            f"sides ({error}); choose another size or give more examples."
        ) from error
    return torch.from_numpy(one), torch.from_numpy(two)


def hide_labels(targets: Tensor, rows: Tensor) -> Tensor:
    """A copy of the targets in which those rows have no label."""
    hidden = targets.clone()
    hidden[rows] = UNLABELLED
    return hidden


def cut(targets: Tensor, pool: Tensor, test: Tensor, num_classes: int, settings: SplitSettings) -> tuple[Tensor, Parts]:
    """Cuts the training pool into validation, labelled and unlabelled points.

    Args:
        targets: [N] int64, `UNLABELLED` where the label is unknown.
        pool: [P] int64, the rows that are not for the test.
        test: [M] int64, the labelled rows for the test.
        num_classes: K; every class needs an example among the labelled training points.
        settings: how much is cut.

    Returns:
        The targets with the hidden ones `UNLABELLED`, and the parts.

    Raises:
        UserError: more points or labels asked for than there are, or a class without a training example.
    """
    known = targets[pool] != UNLABELLED
    labelled, unlabelled = pool[known], pool[~known]
    total = len(labelled)
    size = count_of(settings.validation, total)
    asked = f"dataset.validation={settings.validation}"
    if size > 0 and size >= total:
        raise UserError(f"{asked}: there are only {total} labelled training points to cut it from, choose fewer.")
    if size > 0:
        labelled, validation = stratified(targets, labelled, total - size, settings.seed, asked)
    else:
        validation = labelled[:0]
    check_every_class(targets, labelled, num_classes, asked)
    train, hidden = _keep_labels(targets, labelled, num_classes, settings)
    transfer = torch.cat([train, hidden, unlabelled])
    parts = Parts(*(part.sort().values for part in (train, transfer, validation, test)))
    return hide_labels(targets, hidden), parts


def _keep_labels(targets: Tensor, rows: Tensor, num_classes: int, settings: SplitSettings) -> tuple[Tensor, Tensor]:
    """The rows whose labels are kept, and those whose labels are hidden."""
    labels, total = settings.labels, len(rows)
    if labels is None or labels == total:
        return rows, rows[:0]
    asked = f"dataset.labels={labels}"
    if labels > total:
        raise UserError(f"{asked}: only {total} labelled training points are there, choose fewer (null keeps all).")
    if labels < num_classes:
        raise UserError(f"{asked}: fewer than the {num_classes} classes, choose at least one label per class.")
    train, hidden = stratified(targets, rows, labels, settings.seed, asked)
    counts = torch.bincount(targets[rows], minlength=num_classes)
    if (torch.bincount(targets[train], minlength=num_classes) == 0).any():
        rare = int(counts.argmin())
        enough = math.ceil(total / int(counts[rare]))
        raise UserError(
            f"{asked}: class {rare} ({counts[rare]} of {total} training points) would get no label, "
            f"choose at least {enough}."
        )
    return train, hidden


def check_every_class(targets: Tensor, rows: Tensor, num_classes: int, setting: str) -> None:
    """Checks that each class has an example among those rows.

    Args:
        targets: [N] int64.
        rows: the labelled training rows.
        num_classes: K.
        setting: the key and value that the message blames, as in `dataset.validation=0.5`.

    Raises:
        UserError: a class has none.
    """
    missing = torch.nonzero(torch.bincount(targets[rows], minlength=num_classes) == 0).flatten().tolist()
    if missing:
        raise UserError(
            f"{setting}: class {missing[0]} has no labelled example left for training ({len(missing)} of {num_classes} "
            f"classes have none), cut off fewer points or give more examples."
        )


def fingerprint(
    inputs: Inputs | bytes, targets: Tensor, parts: Iterable[Tensor], prepare: Prepare | None = None
) -> str:
    """The sha256 (hex, 64 characters) over the type, shape and bytes of each tensor, in order.

    Args:
        inputs: [N, ...], or several by name; of rows that are not in memory, a digest of them.
        targets: [N] int64.
        parts: row numbers, int64.
        prepare: what is done to every batch; its text says all of it.
    """
    digest = hashlib.sha256(repr(prepare).encode() if prepare is not None else b"")
    if isinstance(inputs, bytes):
        digest.update(inputs)
    for tensor in (*(() if isinstance(inputs, bytes) else tensors(inputs)), targets, *parts):
        digest.update(f"{tensor.dtype} {list(tensor.shape)};".encode())
        digest.update(tensor.contiguous().numpy().data)
    return digest.hexdigest()


def assemble(
    name: str,
    inputs: Inputs,
    targets: Tensor,
    parts: Parts,
    *,
    num_classes: int,
    augment: Augment | None,
    prepare: Prepare | None = None,
    from_raw: Undoes | None = None,
    class_names: Sequence[str] = (),
) -> Data:
    """Puts a dataset in memory together, with its fingerprint.

    Raises:
        UserError: the batch transform does not fit these inputs.
    """
    source = InMemory(inputs)
    if augment is not None:
        _check_augment(augment, source)
    rows = (parts.train, parts.transfer, parts.validation, parts.test)
    known_by = fingerprint(inputs, targets, rows, prepare)
    steps = augment, prepare, from_raw
    return Data(name, source, targets, *rows, num_classes, known_by, *steps, class_names=tuple(class_names))


def assemble_read(
    name: str,
    source: Source,
    digest: bytes,
    targets: Tensor,
    parts: Parts,
    *,
    num_classes: int,
    augment: Augment | None,
    prepare: Prepare | None = None,
) -> Data:
    """Puts a dataset together whose rows are read when they are wanted; digest: what all of these follow from.

    Raises:
        UserError: the batch transform does not fit the rows, or the first one cannot be read.
    """
    if augment is not None:
        _check_augment(augment, source)
    rows = (parts.train, parts.transfer, parts.validation, parts.test)
    known_by = fingerprint(digest, targets, rows, prepare)
    return Data(name, source, targets, *rows, num_classes, known_by, augment, prepare)


def _check_augment(augment: Augment, source: Source) -> None:
    """Tries the transform once, so that a bad choice is told before anything is trained."""
    name = getattr(augment, "__name__", type(augment).__name__)
    seeds = torch.zeros(1, dtype=torch.int64)
    try:
        sample, result = read_as(source, torch.zeros(1, dtype=torch.int64), [(None, seeds), (augment, seeds)])
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"dataset.augment={name}: {error} Choose dataset/augment=none.") from error
    if shapes(result) != shapes(sample):
        raise UserError(
            f"dataset.augment={name}: it must keep the shape of its inputs, but made {shapes(result)} of "
            f"{shapes(sample)}."
        )
