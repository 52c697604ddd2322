"""What a teacher said of the rows of a dataset, by row: kept as it is, in half precision, or its best classes alone.

Legend: B batch, K classes, k kept classes, R rows.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from kd_lab.errors import UserError
from kd_lab.teachers.form import Form
from kd_lab.types import Outputs

Tensors = dict[str, Tensor]
"""Answers as they lie in memory or in a file: by name, each [R, ...]."""

CLASSES = ".classes"


def packed(form: Form, outputs: Outputs) -> Tensors:
    """Answers to B samples, as they are kept.

    Raises:
        UserError: float16 cannot hold one of the numbers.
    """
    found = {f"features.{i}": _small(form, one) for i, one in enumerate(outputs.features)}
    for name, logits in {"logits": outputs.logits, **_numbered("views", outputs.views)}.items():
        if form.top_k is None:
            found[name] = _small(form, logits)
        else:
            best = F.log_softmax(logits.float(), dim=1).topk(min(form.top_k, logits.shape[1]), dim=1)
            found[name] = _small(form, best.values)
            found[f"{name}{CLASSES}"] = best.indices.to(torch.int32)
    return found


def unpacked(form: Form, kept: Mapping[str, Tensor], num_classes: int) -> Outputs:
    """Answers that a loss can be given: logits [B, K], features, the logits of the views."""
    features = tuple(_whole(form, kept[f"features.{i}"]) for i in range(_count(kept, "features")))
    logits = _logits(form, kept, "logits", num_classes)
    views = tuple(_logits(form, kept, f"views.{i}", num_classes) for i in range(_count(kept, "views")))
    return Outputs(logits, features, views)


def _small(form: Form, given: Tensor) -> Tensor:
    if form.dtype == "float32":
        return given
    small = given.to(torch.float16)
    if bool((small.isinf() & ~given.isinf()).any()):
        raise UserError(
            f"teacher.cache_dtype=float16: ends at 65504, and the teacher answers with "
            f"{float(given[given.isfinite()].abs().max()):.3g}; expected float32"
        )
    return small


def _whole(form: Form, kept: Tensor) -> Tensor:
    return kept if form.dtype == "float32" else kept.float()


def _logits(form: Form, kept: Mapping[str, Tensor], name: str, num_classes: int) -> Tensor:
    values = _whole(form, kept[name])
    if form.top_k is None:
        return values
    others = num_classes - values.shape[1]
    rest = torch.full_like(values[:, :1], -math.inf)
    if form.recovery == "spread" and others:
        left = (-torch.expm1(values.logsumexp(dim=1, keepdim=True))).clamp(min=torch.finfo(torch.float32).tiny)
        rest = left.log() - math.log(others)
    classes = kept[f"{name}{CLASSES}"].long()
    return rest.expand(-1, num_classes).scatter(1, classes, values)


class Answers:
    """Answers to some rows of a dataset, [R, ...] each, that come in one batch after the other.

    Args:
        form: how they are kept.
        place: [N] int64, where among them each row of the dataset is; -1: it is not.
        rows: R, how many rows there are.
        num_classes: K.
    """

    def __init__(self, form: Form, place: Tensor, rows: int, num_classes: int) -> None:
        self.form, self.place, self.num_classes = form, place, num_classes
        self.left = rows
        self.tensors: Tensors = {}
        self._rows = rows

    @classmethod
    def of(cls, tensors: Tensors, form: Form, place: Tensor, num_classes: int) -> "Answers":
        """Those that are complete."""
        made = cls(form, place, len(next(iter(tensors.values()))), num_classes)
        made.tensors, made.left = tensors, 0
        return made

    @property
    def device(self) -> torch.device:
        """Where they lie."""
        return self.place.device

    def to(self, device: torch.device | str) -> "Answers":
        """On a device, in place."""
        self.place = self.place.to(device)
        self.tensors = {name: tensor.to(device) for name, tensor in self.tensors.items()}
        return self

    def add(self, index: Tensor, packed: Tensors) -> None:
        """The answers [B, ...], packed in this form, to the rows [B], each of which comes once."""
        if not self.tensors:
            self.tensors = {
                name: torch.empty(self._rows, *one.shape[1:], dtype=one.dtype, device=self.device)
                for name, one in packed.items()
            }
        places = self.place.index_select(0, index.to(self.device))
        for name, one in packed.items():
            self.tensors[name].index_copy_(0, places, one.to(self.device))
        self.left -= len(index)

    def __call__(self, index: Tensor) -> Outputs:
        """The answers [B, ...] to the rows [B], on the device of these."""
        places = self.place.index_select(0, index.to(self.device))
        kept = {name: one.index_select(0, places).to(index.device) for name, one in self.tensors.items()}
        return unpacked(self.form, kept, self.num_classes)


def places(rows: Tensor, num_rows: int) -> Tensor:
    """[N] int64: where among the rows [R] each of the N rows of a dataset is, -1 where it is not."""
    found = torch.full((num_rows,), -1, dtype=torch.int64)
    found[rows] = torch.arange(len(rows))
    return found


def size_in_bytes(tensors: Mapping[str, Tensor]) -> int:
    """What they hold."""
    return sum(one.numel() * one.element_size() for one in tensors.values())


def _numbered(name: str, several: tuple[Tensor, ...]) -> Tensors:
    return {f"{name}.{i}": one for i, one in enumerate(several)}


def _count(kept: Mapping[str, Tensor], name: str) -> int:
    return sum(key.startswith(f"{name}.") and not key.endswith(CLASSES) for key in kept)
