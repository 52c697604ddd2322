"""What a teacher is asked in a job, and what its answers follow from."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

from torch import Tensor, nn

from kd_lab.job.bind import Bound
from kd_lab.job.code import TRAINING, code_of
from kd_lab.job.plan import Plan
from kd_lab.job.settings import TeacherSettings
from kd_lab.measures.predict import autocast
from kd_lab.models.common.fitted import Fitted
from kd_lab.teachers.answers import packed, size_in_bytes, unpacked
from kd_lab.teachers.frozen import FrozenTeacher
from kd_lab.teachers.own import OwnTeacher
from kd_lab.training.recipe import Recipe
from kd_lab.types import Batch, Feed, Outputs, Teacher

VERSION = 1
"""Of what a file of answers holds."""


@dataclass(frozen=True)
class Lessons:
    """What is taught: the rows, under which recipe, and how many draws of them a training sees."""

    plan: Plan
    bound: Bound
    teacher: Teacher
    recipe: Recipe
    rows: Tensor

    @classmethod
    def of(cls, plan: Plan, network: nn.Module) -> "Lessons":
        """Those that this teacher gives in a job."""
        assert plan.built is not None
        rows, bound = plan.student_rows(), plan.built.bound
        recipe = plan.recipe("student.recipe", plan.settings.student.recipe, len(rows))
        return cls(plan, bound, asked(plan, network, bound), recipe, rows)

    @property
    def settings(self) -> TeacherSettings:
        """The teacher's."""
        assert self.plan.settings.teacher is not None
        return self.plan.settings.teacher

    @property
    def is_augmented(self) -> bool:
        """Whether a sample is not always seen as it is."""
        return bool(self.bound.views) or (self.recipe.augment and self.plan.data.augment is not None)

    @cached_property
    def epochs(self) -> int:
        """How many, the last one perhaps cut short."""
        return self._feed(self.recipe.step_size).epochs

    @property
    def draws(self) -> int:
        """Under how many draws each row is answered."""
        return min(self.epochs, self.recipe.draws or self.epochs) if self.is_augmented else 1

    def batch(self, size: int) -> Batch:
        """The first one, with its views."""
        return next(iter(self._feed(size).to(self.plan.devices.main)))

    def _feed(self, batch_size: int) -> Feed:
        recipe = replace(self.recipe, batch_size=batch_size, accumulate=1, by_length=False)
        return self.plan.feed(self.rows, recipe, self.plan.settings.seed, self.bound.views, workers=0)

    def all(self, size: int) -> Iterator[Batch]:
        """Every row as it is, in large batches."""
        data = self.plan.data
        rows = data.rows(self.rows)
        for start in range(0, len(rows), size):
            index = self.rows[start : start + size]
            yield Batch(rows.batch(start, size, self.plan.devices.main), data.targets[index], index)

    def answer(self, batch: Batch) -> Outputs:
        """What the teacher says, in the precision of the training."""
        with autocast(self.plan.devices.main, self.recipe.precision):
            return self.teacher(batch)

    def kept_form(self, said: Outputs) -> Outputs:
        """What would be given back of an answer."""
        return unpacked(self.settings.form, packed(self.settings.form, said), self.plan.data.num_classes)

    def size(self, said: Outputs) -> int:
        """Bytes of all that would be kept, from an answer to some samples."""
        return size_in_bytes(packed(self.settings.form, said)) // len(said.logits) * len(self.rows) * self.draws

    def key(self) -> str:
        """What answers follow from: a hash of teacher, data, what is drawn, precision, kind of device, and the code."""
        plan = self.plan
        assert plan.specs.teacher is not None
        drawn: object = None
        nodes: list[object] = [plan.specs.teacher.node]
        if self.is_augmented:
            viewed = {n: t.node for n, t in plan.settings.loss.terms.items()} if self.bound.views else {}
            augment = plan.settings.dataset.get("augment") if self.recipe.augment else None
            drawn = {"seed": plan.settings.seed, "augment": augment, "views": viewed, "draws": self.recipe.draws}
            nodes += [augment, *viewed.values()]
        facts = {
            "version": VERSION,
            "teacher": self.teacher.identity,
            "network": plan.specs.teacher.node,
            "code": code_of(nodes, (*TRAINING, "kd_lab.job.lessons")),
            "layers": [repr(tap) for tap in self.bound.teacher_taps],
            "data": plan.data.fingerprint,
            "rows": hashlib.sha256(self.rows.numpy().tobytes()).hexdigest(),
            "precision": self.recipe.precision,
            "device": plan.devices.main.type,
            "form": repr(self.settings.form),
            "drawn": drawn,
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()


def asked(plan: Plan, network: nn.Module, bound: Bound) -> Teacher:
    """The network as a teacher, with answers of its own to the samples that it was fitted to, where it has some."""
    teacher = FrozenTeacher(network, bound.teacher_taps)
    if not isinstance(network, Fitted):
        return teacher
    rows, data = plan.data.train, plan.data
    inputs = data.rows(rows).batch(0, len(rows), "cpu")
    own = network.own_answers(inputs, data.targets[rows]) if isinstance(inputs, Tensor) else None
    return teacher if own is None else OwnTeacher(teacher, rows, own, len(data.targets))
