"""The networks of a job before they are there: all that their weights follow from, and the keys that find them again.

Teacher, baseline and student are one kind of thing. A network that was taught has a lesson, and its teachers are
specified as it is; so a key holds the keys of all that stand behind it.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import kd_lab
from kd_lab import names
from kd_lab.job.code import DISTILLING, TRAINING, code_of
from kd_lab.job.devices import Devices
from kd_lab.job.loss_settings import LossSettings
from kd_lab.job.settings import NetworkSettings, RecipeSettings, Settings
from kd_lab.job.strict import Node
from kd_lab.outside.ids import RUN
from kd_lab.teachers.form import Form
from kd_lab.types import Data

TRAIN = "train"
TRANSFER = "transfer"
PRETRAINED = "pretrained"


@dataclass(frozen=True)
class Lesson:
    """What a network is taught, and by whom.

    layers: those that the user names, by role. form: how the teachers' answers are kept. strategy: how they teach it,
    None where it is plainly distilled.
    """

    loss: LossSettings
    teachers: tuple["NetworkSpec", ...]
    layers: Mapping[str, list[str] | None]
    form: Form
    strategy: Node | None = None


@dataclass(frozen=True)
class NetworkSpec:
    """A network of a job.

    node: what builds it. source: where its weights come from: nowhere (it starts from its seed), `pretrained`, `run:ID`
    or a file. part: the part of the data that it is trained on, `train` or `transfer`; None where it comes trained.
    """

    role: str
    node: Node
    recipe: RecipeSettings
    seed: int
    part: str | None = TRAIN
    source: str = ""
    lesson: Lesson | None = None

    @property
    def is_trained(self) -> bool:
        """Whether it is trained here."""
        return self.part is not None


@dataclass(frozen=True)
class World:
    """What all networks of a job follow from: data, augmentation, classes no student sees, the user's callbacks.

    keep: which weights are kept. unlabelled: how many points without a label a student is taught on; None is all.
    processes: how many train, each with a share of every batch. sync_batchnorm: whether BatchNorm sees these as one.
    sharded: whether they share out what is trained, which rounds in another way.
    """

    fingerprint: str
    augment: object
    without_classes: tuple[int, ...]
    callbacks: Mapping[str, Node]
    keep: str = "last"
    unlabelled: int | None = None
    processes: int = 1
    sync_batchnorm: bool = False
    sharded: bool = False

    @classmethod
    def of(cls, settings: Settings, data: Data, devices: Devices) -> "World":
        """That of a job."""
        without = tuple(sorted({*settings.student.without_classes}))
        augment = settings.dataset.get("augment")
        keep, unlabelled = settings.checkpoint.keep, settings.student.unlabelled
        processes = devices.count, devices.sync_batchnorm, devices.sharded
        return cls(data.fingerprint, augment, without, settings.callbacks, keep, unlabelled, *processes)

    def key(self, spec: NetworkSpec) -> str:
        """What the trained network is found again by: data, network, recipe, seed, lesson, and the code of all."""
        facts: dict[str, Any] = {"role": spec.role, "version": kd_lab.__version__, "data": self.fingerprint}
        if spec.source.startswith(RUN):
            return _hashed({**facts, "weights": spec.source})
        facts |= {"network": spec.node, "code": self.code(spec), "weights": spec.source}
        if not spec.is_trained:
            content = Path(spec.source).expanduser().read_bytes()
            return _hashed({**facts, "weights": hashlib.sha256(content).hexdigest()})
        facts |= {"recipe": spec.recipe.model_dump(), "augment": self._augment(spec), "seed": spec.seed}
        if self.keep != "last":
            facts["keep"] = self.keep
        if self.processes > 1:
            facts |= {"processes": self.processes, "sync_batchnorm": self.sync_batchnorm}
        if self.sharded:
            facts["sharded"] = True
        if self.callbacks:
            facts["callbacks"] = dict(self.callbacks)
        if self.without_classes and spec.role != names.TEACHER:
            facts["without_classes"] = list(self.without_classes)
        if self.unlabelled is not None and spec.part == TRANSFER:
            facts["unlabelled"] = self.unlabelled
        if spec.lesson is not None:
            teachers = [self.key(teacher) for teacher in spec.lesson.teachers]
            facts["lesson"] = {
                "loss": spec.lesson.loss.model_dump(),
                "layers": dict(spec.lesson.layers),
                "teachers": teachers,
                "form": {} if spec.lesson.form.is_exact else asdict(spec.lesson.form),
            }
            if spec.lesson.strategy is not None:
                facts["lesson"]["strategy"] = spec.lesson.strategy
        return _hashed(facts)

    def code(self, spec: NetworkSpec) -> str:
        """The hash of the source that it follows from: its own and, of a lesson, its loss's and its teachers'."""
        return code_of(self._nodes(spec), TRAINING if spec.lesson is None else DISTILLING)

    def _nodes(self, spec: NetworkSpec) -> list[object]:
        if not spec.is_trained:  # its weights come as they are
            return [] if spec.source.startswith(RUN) else [spec.node]
        nodes = [spec.node, spec.recipe.model_dump(), self._augment(spec), dict(self.callbacks)]
        if spec.lesson is not None:
            nodes += [spec.lesson.loss.model_dump(), spec.lesson.strategy, *map(self._nodes, spec.lesson.teachers)]
        return nodes

    def _augment(self, spec: NetworkSpec) -> object:
        return self.augment if spec.recipe.augment else None


@dataclass(frozen=True)
class Specs:
    """The networks of a job; links and peers are those of its strategy."""

    world: World
    teacher: NetworkSpec | None
    baseline: NetworkSpec | None
    student: NetworkSpec
    trainer: Mapping[str, object]
    links: tuple[NetworkSpec, ...] = ()
    peers: tuple[NetworkSpec, ...] = ()

    def job_key(self) -> str:
        """What the student of a job is found again by: it, the baseline that stands beside it, and the trainer.

        Not in it, because no result follows from them: the study, the store, how often metrics are written, how latency
        is measured, and whether teachers are reused.
        """
        baseline = self.baseline and self.world.key(self.baseline)
        return _hashed({"student": self.world.key(self.student), "baseline": baseline, "trainer": dict(self.trainer)})


def teacher_spec(settings: NetworkSettings, node: Node) -> NetworkSpec:
    """The teacher's, of which a run or the user's choice says what builds it."""
    source = settings.weights or ""
    if source == PRETRAINED:
        node = {**node, "pretrained": True}
    part = TRAIN if source in {"", PRETRAINED} else None
    return NetworkSpec(names.TEACHER, node, settings.recipe, settings.seed, part, source)


def _hashed(facts: object) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()
