"""The user's own data: arrays in an .npz file, or an .npy file of inputs and one of labels."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from kd_lab.datasets.common.files import Array, read, to_inputs, to_targets
from kd_lab.datasets.common.held_out import Wanted, check_test, cut_test
from kd_lab.datasets.common.scaled import Scaled
from kd_lab.datasets.common.splits import SplitSettings, assemble, cut
from kd_lab.errors import UserError, choices
from kd_lab.types import UNLABELLED, Augment, Data

_NAMES = ("X", "y", "X_val", "y_val", "X_test", "y_test", "X_unlabelled")


class Arrays:
    """Inputs X [N, ...] and labels y [N] of the user.

    The .npz file holds X and y, and if wanted X_val and y_val, X_test and y_test, and X_unlabelled. X is any numeric
    array: uint8 is scaled to 0..1, other kinds are cast to float32. Convolutional networks want [N, C, H, W]:
    [N, H, W] stays a sequence of H rows. y holds whole numbers 0 to K-1, each at least once; -1 (or NaN, in an array
    of floats) is a point without a label. Such points, and X_unlabelled, are seen only by a student that is distilled.
    """

    def __init__(
        self,
        *,
        path: str,
        targets: str | None = None,
        labels: int | None = None,
        validation: int | float = 0,
        test: int | float = 0.2,
        standardize: bool = False,
        seed: int = 0,
        augment: Augment | None = None,
    ) -> None:
        """Checks the settings, reads nothing.

        Args:
            path: the .npz file, or the .npy file of X.
            targets: the .npy file of y; only where `path` has none.
            labels: how many labels are kept, stratified; None keeps all.
            validation: a number of labelled points, or a fraction of those not in the test, rounded up; cut before
                labels are hidden. Nothing is chosen on them but by a search; not where the file has X_val.
            test: a number of labelled points or a fraction of them, rounded up. Not used where the file has X_test.
            standardize: to mean 0 and standard deviation 1, measured on what a student may see: per channel (axis 1)
                from four dimensions on, else per feature (last axis).
            seed: fixes the parts.
            augment: the batch transform that training may apply.

        Raises:
            ValueError: a value that no dataset can meet.
        """
        self._settings = SplitSettings(labels, validation, seed, augment)
        check_test(test)
        if not path:
            raise ValueError("Expected `path` to name an .npz or .npy file, but got an empty string.")
        self._path, self._targets = path, targets
        self._test, self._standardize = test, standardize
        self._key = f"dataset.path={path}"

    def load(self) -> Data:
        """Reads the files, checks what they hold and cuts the points.

        Raises:
            UserError: a file or its content is not as described, or the settings ask for more than it holds.
        """
        arrays = self._read()
        inputs, targets = self._own(arrays)
        test, validation = (self._given(arrays, part, inputs) for part in ("test", "val"))
        unlabelled = self._extra(arrays, "X_unlabelled", inputs)
        num_classes = self._num_classes(targets, torch.cat([test[1], validation[1]]))
        sizes = [len(targets), len(test[1]), len(validation[1]), len(unlabelled)]
        targets = torch.cat([targets, test[1], validation[1], torch.full((len(unlabelled),), UNLABELLED)])
        inputs = torch.cat([inputs, test[0], validation[0], unlabelled]) if len(targets) > sizes[0] else inputs
        own, given, set_aside, extra = torch.split(torch.arange(len(targets)), sizes)
        wanted = Wanted(self._test, self._settings.seed, self._key, "X_test and y_test")
        pool, rows = (own, given) if len(given) else cut_test(targets, own, num_classes, wanted)
        targets, parts = cut(targets, torch.cat([pool, extra]), rows, num_classes, self._settings)
        if len(set_aside):
            parts = replace(parts, validation=set_aside)
        prepare = Scaled() if inputs.dtype == torch.uint8 else None
        from_raw = None
        if self._standardize and prepare is not None:
            prepare = _standardizing(inputs, parts.transfer, 255.0)
        elif self._standardize:
            from_raw = _standardizing(inputs, parts.transfer, 1.0)
            inputs = from_raw.of_one(inputs)
        return assemble(
            "arrays",
            inputs,
            targets,
            parts,
            num_classes=num_classes,
            augment=self._settings.augment,
            prepare=prepare,
            from_raw=from_raw,
        )

    def _read(self) -> dict[str, Array]:
        """The arrays of one or two files."""
        arrays, names = read(self._path, self._key, bare="X", wanted=_NAMES)
        if "X" not in arrays:
            raise UserError(f"{self._key}: no array named X, it holds {_listed(names)}; rename one to X.")
        for name in names:
            if name.startswith(("X_", "y_")) and name not in _NAMES:
                raise UserError(f"{self._key}: {name} is no part of a dataset; {choices(name, [*_NAMES])}")
        if self._targets is not None:
            key = f"dataset.targets={self._targets}"
            if "y" in arrays:
                raise UserError(f"{key}: {self._path} already holds y, leave dataset.targets away.")
            labels, others = read(self._targets, key, bare="y", wanted=("y",))
            if "y" not in labels:
                raise UserError(f"{key}: no array named y, it holds {_listed(others)}; use an .npy file.")
            arrays |= labels
        if "y" not in arrays:
            raise UserError(
                f"{self._key}: no array named y, it holds {_listed(names)}; add it or set dataset.targets=FILE.npy."
            )
        return arrays

    def _own(self, arrays: dict[str, Array]) -> tuple[Tensor, Tensor]:
        """X and y."""
        inputs = to_inputs(arrays["X"], "X", self._key)
        key = self._key if self._targets is None else f"dataset.targets={self._targets}"
        targets = to_targets(arrays["y"], "y", key, len(inputs))
        if not (targets != UNLABELLED).any():
            raise UserError(f"{key}: y has no label at all, expected classes from 0.")
        return inputs, targets

    def _given(self, arrays: dict[str, Array], part: str, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """X_test and y_test, or X_val and y_val; empty where the file has none."""
        X, y = f"X_{part}", f"y_{part}"
        if (X in arrays) != (y in arrays):
            there, missing = (X, y) if X in arrays else (y, X)
            raise UserError(f"{self._key}: it holds {there} but no {missing}, add it or take {there} away.")
        extra = self._extra(arrays, X, inputs)
        if y not in arrays:
            return extra, torch.empty(0, dtype=torch.int64)
        if part == "val" and self._settings.validation:
            raise UserError(
                f"dataset.validation={self._settings.validation}: {self._path} holds X_val already, leave it away."
            )
        targets = to_targets(arrays[y], y, self._key, len(extra))
        if (targets == UNLABELLED).any():
            row = int(torch.nonzero(targets == UNLABELLED)[0])
            raise UserError(f"{self._key}: {y} has no label in row {row}, move such points to X_unlabelled.")
        return extra, targets

    def _extra(self, arrays: dict[str, Array], name: str, inputs: Tensor) -> Tensor:
        """More inputs of the same shape and kind as X; none where the file has none."""
        if name not in arrays:
            return inputs[:0]
        extra = to_inputs(arrays[name], name, self._key)
        if extra.shape[1:] != inputs.shape[1:]:
            raise UserError(
                f"{self._key}: {name} has samples of shape {list(extra.shape[1:])}, but X of {list(inputs.shape[1:])}."
            )
        kinds = arrays["X"].dtype, arrays[name].dtype
        if (kinds[0] == np.uint8) != (kinds[1] == np.uint8):
            raise UserError(
                f"{self._key}: X is {kinds[0]} but {name} is {kinds[1]}; uint8 is scaled to 0..1, save both alike."
            )
        return extra

    def _num_classes(self, targets: Tensor, others: Tensor) -> int:
        """The number of classes, each of which must have an example in y."""
        present = np.unique(targets[targets != UNLABELLED].numpy())
        highest = max(int(present[-1]), *others.tolist(), 0)
        gaps = np.flatnonzero(present != np.arange(len(present)))
        if len(gaps) or len(present) <= highest:
            first = int(gaps[0]) if len(gaps) else len(present)
            raise UserError(
                f"{self._key}: class {first} has no example in y, though the highest class is {highest}; "
                f"number the classes from 0 without gaps."
            )
        if len(present) < 2:
            raise UserError(f"{self._key}: y holds only one class, expected at least 2.")
        return len(present)


def _listed(names: list[str]) -> str:
    """The first few names: any zip archive may come, with thousands."""
    return ", ".join(names[:8]) + ", ..." * (len(names) > 8) or "nothing"


def _standardizing(inputs: Tensor, rows: Tensor, divisor: float) -> Scaled:
    """What gives inputs mean 0 and standard deviation 1 on those rows; a constant feature becomes 0."""
    axis = 1 if inputs.ndim >= 4 else inputs.ndim - 1
    others = [dim for dim in range(inputs.ndim) if dim != axis]
    seen = inputs[rows].to(torch.float32).div(divisor)
    variance, mean = torch.var_mean(seen, dim=others, correction=0, keepdim=True)
    return Scaled(mean, torch.where(variance > 0, variance.sqrt(), 1), divisor)
