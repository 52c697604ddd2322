"""A teacher that is asked once: what it said of a row under a draw is kept, and said again.

Storing a teacher's answers, with the crops that they belong to: Beyer et al. 2022 (arXiv:2106.05237) name it as what
goes wrong where the views differ; Shen and Xing 2022 (FKD, arXiv:2112.01528) keep several views of each sample. Here a
view follows from (seed, draw, row), so answers and views cannot part.

Legend: B batch, N rows of the dataset, R rows that are taught.
"""

from collections.abc import Iterable
from typing import Any, Self

import torch
from torch import Tensor

from kd_lab.teachers.answers import Answers, Tensors, packed, places, size_in_bytes, unpacked
from kd_lab.teachers.form import Form
from kd_lab.teachers.shelf import Shelf
from kd_lab.types import Batch, Outputs, Teacher

ON_DEVICE_BYTES = 2**30
"""Answers up to this size lie on the device of the training, larger ones in memory or in their file."""


class CachedTeacher:
    """Answers from what it kept of `teacher`, by row and draw; asks it for the rest. See `kd_lab.types.Teacher`.

    Args:
        teacher: whom to ask.
        rows: [R] int64, those that are taught.
        num_rows: N.
        num_classes: K.
        form: how answers are kept.
        shelf: where they are kept beside; None: in this object alone.
        comes_again: whether a draw is seen in more than one epoch, so that it is held.
        records: whether what is answered is kept; a process that sees a part of each batch cannot.
    """

    def __init__(
        self,
        teacher: Teacher,
        rows: Tensor,
        *,
        num_rows: int,
        num_classes: int,
        form: Form | None = None,
        shelf: Shelf | None = None,
        comes_again: bool = True,
        records: bool = True,
    ) -> None:
        self._teacher, self._shelf, self._form = teacher, shelf, form or Form()
        self._rows, self._num_classes = len(rows), num_classes
        self._place = places(rows.cpu(), num_rows)
        self._comes_again, self._records = comes_again, records
        self._held: dict[int, Answers] = {}
        self._absent: set[int] = set()
        self._begun: tuple[int, Answers] | None = None
        self._device = torch.device("cpu")
        self._filled = False
        self.answered = self.asked = 0
        """Batches that were answered from what is kept, and batches that were asked."""
        self.samples = 0
        self.unkept: str | None = None
        """Why answers could not be written, if so."""

    @property
    def identity(self) -> str:
        """The teacher's, and how its answers are kept where that changes them."""
        return self._teacher.identity if self._form.is_exact else f"{self._teacher.identity} {self._form}"

    def attach(self, device: torch.device | str) -> Self:
        """The teacher too: a loss may use a part of it."""
        self._device = torch.device(device)
        self._teacher.attach(device)
        for draw, kept in self._held.items():
            self._held[draw] = self._near(kept)
        return self

    def release(self) -> None:
        """See `kd_lab.types.Teacher`."""
        self._teacher.release()
        self._begun = None

    def __call__(self, batch: Batch) -> Outputs:
        """Logits, features and the logits of the views, without a graph.

        Raises:
            ValueError: samples are mixed, so that no answer belongs to one row.
        """
        if batch.mixed is not None:
            raise ValueError("Expected samples that are not mixed, because answers are kept by row.")
        kept = self._held.get(batch.draw) or self._found(batch.draw)
        if kept is not None:
            self.answered += 1
            return kept(batch.index)
        self.asked += 1
        self.samples += len(batch.index) * (1 + len(batch.views))
        outputs = self._teacher(batch)
        small = packed(self._form, outputs)
        if self._records:
            self._record(batch, small)
        else:
            self._absent.add(batch.draw)  # looked for once, not in every step
        return outputs if self._form.is_exact else unpacked(self._form, small, self._num_classes)

    def fill(self, batches: Iterable[Batch]) -> None:
        """Ask for all rows at once, each in one of the batches."""
        for batch in batches:
            self(batch)
        self._filled = True

    def state_dict(self) -> dict[str, Any]:
        """What was answered in this training, is to be said again in it, and lies nowhere else; how many samples."""
        count = {"samples": self.samples}
        if self._filled or not (self._comes_again and self._records):
            return count
        held = {draw: one.tensors for draw, one in self._held.items()} if self._shelf is None else {}
        begun = None if self._begun is None else (self._begun[0], self._begun[1].tensors, self._begun[1].left)
        return {"held": held, "begun": begun} | count

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Have it again."""
        self.samples = state_dict["samples"]
        for draw, tensors in state_dict.get("held", {}).items():
            self._hold(draw, Answers.of(tensors, self._form, self._place, self._num_classes))
        if (begun := state_dict.get("begun")) is not None:
            draw, tensors, left = begun
            near = next(iter(tensors.values())).device
            answers = Answers.of(tensors, self._form, self._place.to(near), self._num_classes)
            answers.left = left
            self._begun = draw, answers

    def has(self, draw: int) -> bool:
        """Whether the answers of a draw are there."""
        return draw in self._held or self._found(draw) is not None

    def forget(self) -> None:
        """What was found is not what the teacher says, or what was begun cannot be ended: it is asked anew."""
        self._absent |= self._held.keys()
        self._held.clear()
        self._begun = None

    def _found(self, draw: int) -> Answers | None:
        """On the shelf, where another training put them."""
        if self._shelf is None or draw in self._absent or (self._begun is not None and self._begun[0] == draw):
            return None
        tensors = self._shelf.load(draw)
        if tensors is None:
            return None
        return self._hold(draw, Answers.of(tensors, self._form, self._place, self._num_classes))

    def _record(self, batch: Batch, small: Tensors) -> None:
        draw = batch.draw
        if self._begun is None or self._begun[0] != draw:
            near = self._is_small(size_in_bytes(small) / len(batch.index) * self._rows)
            place = self._place.to(self._device) if near else self._place
            self._begun = draw, Answers(self._form, place, self._rows, self._num_classes)
        answers = self._begun[1]
        answers.add(batch.index, small)
        if answers.left > 0:
            return
        self._begun = None
        if self._shelf is not None:
            self.unkept = self._shelf.save(draw, answers.tensors)
        if self._comes_again:
            self._hold(draw, answers)

    def _hold(self, draw: int, answers: Answers) -> Answers:
        if not self._comes_again:
            self._held.clear()
        self._held[draw] = self._near(answers)
        return self._held[draw]

    def _near(self, answers: Answers) -> Answers:
        return answers.to(self._device) if self._is_small(size_in_bytes(answers.tensors)) else answers

    @staticmethod
    def _is_small(size: float) -> bool:
        return size <= ON_DEVICE_BYTES
