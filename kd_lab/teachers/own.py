"""A teacher that has other answers to the rows that it learned from than to all else: out of bag, or out of fold.

Legend: B batch, K classes, N rows of the dataset, R rows that it learned from.
"""

from dataclasses import replace
from typing import Any, Self

import torch
from torch import Tensor

from kd_lab.teachers.answers import places
from kd_lab.types import Batch, Outputs, Teacher


class OwnTeacher:
    """Answers those rows as it was told to, all others as `teacher` does. See `kd_lab.types.Teacher`.

    Args:
        teacher: whom to ask; its `identity` holds the answers.
        rows: [R] int64, those that it learned from.
        logits: [R, K], what is answered to them; samples are seen as they are, so views are asked.
        num_rows: N.
    """

    def __init__(self, teacher: Teacher, rows: Tensor, logits: Tensor, num_rows: int) -> None:
        self._teacher, self._logits, self._place = teacher, logits, places(rows, num_rows)
        self.samples = 0

    @property
    def identity(self) -> str:
        """The teacher's."""
        return self._teacher.identity

    def attach(self, device: torch.device | str) -> Self:
        """See `kd_lab.types.Teacher`."""
        self._teacher.attach(device)
        self._logits, self._place = self._logits.to(device), self._place.to(device)
        return self

    def state_dict(self) -> dict[str, Any]:
        """How many samples it answered in this training."""
        return {"samples": self.samples}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting from there."""
        self.samples = state_dict["samples"]

    def release(self) -> None:
        """See `kd_lab.types.Teacher`."""
        self._teacher.release()

    def __call__(self, batch: Batch) -> Outputs:
        """Logits, features and the logits of the views, without a graph."""
        self.samples += len(batch.index) * (1 + len(batch.views))
        said = self._teacher(batch)
        place = self._place.index_select(0, batch.index)
        own = self._logits.index_select(0, place.clamp(min=0)).to(said.logits.dtype)
        return replace(said, logits=torch.where(place[:, None] >= 0, own, said.logits))
