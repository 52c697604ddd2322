"""A job: its data, its networks specified, and built once it is ready to run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import nn

from kd_lab import names
from kd_lab.datasets.common.seen import leave_out, with_unlabelled
from kd_lab.errors import UserError
from kd_lab.feeds.memory import MemoryFeed
from kd_lab.feeds.streaming import StreamingFeed
from kd_lab.job import chain
from kd_lab.job.bind import Bound
from kd_lab.job.build import build
from kd_lab.job.chain import strategy_of
from kd_lab.job.checks import (
    asks_teacher,
    check_share,
    mix_of,
)
from kd_lab.job.devices import Devices
from kd_lab.job.fitting import fitting
from kd_lab.job.measured import Bench
from kd_lab.job.settings import (
    BaselineRecipe,
    RecipeSettings,
    Settings,
    StudentSettings,
    TeacherSettings,
)
from kd_lab.job.specs import TRAIN, TRANSFER, Lesson, NetworkSpec, Specs, World, teacher_spec
from kd_lab.job.strict import Node
from kd_lab.strategies.common.strategy import Parties, Strategy
from kd_lab.teachers.form import Form
from kd_lab.training.recipe import Recipe
from kd_lab.types import Augment, Data, Feed, InMemory


@dataclass(frozen=True)
class Built:
    """The networks that a job trains or loads, each built once, and what the student is trained for.

    student_node: what builds the student; a loss may deploy another network than the one that was chosen (SimKD).
    links: the plan of each network that is obtained before the student, which is its own student. tutors: the plan seen
    with each of those that teach the student, alone; none where that is the job's teacher. peers: trained with it.
    """

    teacher: nn.Module | None
    student: nn.Module
    student_node: Node
    bound: Bound
    links: tuple["Plan", ...] = ()
    tutors: tuple["Plan", ...] = ()
    peers: tuple[nn.Module, ...] = ()

    def parties(self, data: Data) -> Parties:
        """What a strategy judges."""
        links = tuple(link.student for link in self.links)
        layers = any(self.bound.pairs.values())
        return Parties(self.teacher, self.student, links, self.peers, self.bound.objective, layers, data)


@dataclass(frozen=True)
class Plan:
    """One job, ready to run.

    teacher_node: what builds the teacher, if a run says it. built: None of a mere look. own: what is trained in the
    place of the student that the settings choose: a link, or the student as one of several teaches it.
    """

    settings: Settings
    devices: Devices
    data: Data
    teacher_node: Node | None = None
    built: Built | None = None
    own: NetworkSpec | None = None

    @property
    def student(self) -> nn.Module:
        """The network that is trained."""
        assert self.built is not None
        return self.built.student

    @property
    def taught_by(self) -> tuple["Plan", ...]:
        """The plan seen with each that teaches the student alone: itself, where that is the job's teacher."""
        assert self.built is not None
        return self.built.tutors or (() if self.built.teacher is None else (self,))

    @cached_property
    def strategy(self) -> Strategy:
        """How the student is taught."""
        return strategy_of(self.settings.strategy)

    @cached_property
    def specs(self) -> Specs:
        """The job's networks, specified."""
        settings, student, strategy = self.settings, self.settings.student, self.strategy
        world = World.of(settings, self.data, self.devices)
        trainer = settings.trainer.model_dump(exclude={"workers", "sync_batchnorm"})  # same batches; in the world
        if self.own is not None:
            tutors = () if self.own.lesson is None else self.own.lesson.teachers
            return Specs(world, tutors[-1] if tutors else None, None, self.own, trainer)
        taught = self._teacher_spec()
        baseline = None
        if settings.baseline is not None:
            baseline = NetworkSpec(names.BASELINE, student.node, self.baseline_recipe(), settings.seed)
        theirs = None if settings.teacher is None else settings.teacher.layers
        layers = {names.TEACHER: theirs, names.STUDENT: student.layers}
        form = settings.teacher.form if settings.teacher else Form()
        lesson = Lesson(settings.loss, () if taught is None else (taught,), layers, form, settings.strategy)
        learner = NetworkSpec(
            names.STUDENT, student.node, student.recipe, settings.seed, self.student_part(), lesson=lesson
        )
        links = chain.links(settings, strategy, taught, learner, self._alone(BaselineRecipe()))
        lesson = replace(lesson, teachers=chain.tutors(strategy, taught, links))
        peers = chain.peers(strategy, learner)
        return Specs(world, taught, baseline, replace(learner, lesson=lesson), trainer, links, peers)

    def _teacher_spec(self) -> NetworkSpec | None:
        """The job's teacher, for as many steps as the strategy leaves it."""
        teacher, share = self.settings.teacher, self.strategy.teacher_share
        if teacher is None:
            return None
        spec = teacher_spec(teacher, self.teacher_node or fitting(teacher.node, self.data.input_shape))
        if share == 1:
            return spec
        check_share(share, spec)
        steps = max(round(share * spec.recipe.steps_over(len(self.data.train))), 1)
        return replace(spec, recipe=spec.recipe.model_copy(update={"epochs": None, "steps": steps}))

    @property
    def bench(self) -> Bench:
        """On what, where and how this job measures."""
        measure = self.settings.measure
        if self.strategy.measures_int8:
            measure = measure.model_copy(update={"int8": True})
        return Bench(self.data, self.devices, measure)

    def network(self, spec: NetworkSpec) -> nn.Module:
        """Build a network for this dataset; its seed fixes its initial weights.

        Raises:
            UserError: The arguments do not fit the class, or the class not the dataset's shape.
        """
        key = names.TEACHER if spec.role == names.TEACHER else names.STUDENT  # as the user knows it
        torch.manual_seed(spec.seed)
        network = build(key, spec.node, self.data.given)
        if not isinstance(network, nn.Module):
            raise UserError(
                f"{key}._target_={spec.node.get('_target_')}: expected a torch.nn.Module, got {type(network).__name__}"
            )
        return network

    @property
    def distils(self) -> bool:
        """Whether a loss asks a teacher; regularizers alone train the student on what the baseline is trained on."""
        return asks_teacher(self.settings)

    @cached_property
    def seen(self) -> Data:
        """The data of which student and baseline see train and transfer: see `StudentSettings`."""
        data, student = self.data, self.settings.student
        if student.without_classes:
            data = leave_out(data, student.without_classes, f"student.without_classes={student.without_classes}")
        if student.unlabelled is not None:
            data = with_unlabelled(data, student.unlabelled, f"student.unlabelled={student.unlabelled}")
        return data

    def in_effect(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """The config with the teacher that teaches, wherever that comes from, and with the network that is taught."""
        found, spec = dict(config), self.specs.teacher
        if self.settings.teacher is not None and spec is not None:
            kept = {key: config["teacher"][key] for key in TeacherSettings.model_fields if key in config["teacher"]}
            found["teacher"] = {**spec.node, **kept, "weights": self.settings.teacher.weights}
        if self.own is not None:
            kept = {key: config["student"][key] for key in StudentSettings.model_fields if key in config["student"]}
            strategy = self.settings.strategy or {"_target_": None}
            found |= {"student": {**self.own.node, **kept}, "strategy": strategy, "baseline": False}
            if self.own.role == names.TEACHER:
                found["teacher"] = {**found["teacher"], "weights": None}  # the job's own may come from elsewhere
        return found

    def student_rows(self) -> torch.Tensor:
        """What the student is trained on: the transfer part where a teacher answers, else the labelled one."""
        return self.seen.transfer if self.student_part() == TRANSFER else self.seen.train

    def student_part(self) -> str:
        """The name of that part of the data."""
        return TRANSFER if self.distils or self.strategy.on_transfer else TRAIN

    def recipe(self, key: str, settings: RecipeSettings, num_rows: int) -> Recipe:
        """The recipe with its length in steps."""
        own = settings.model_dump(exclude={"epochs", "steps", "class_weights", "mix", "optimizer", "schedule"})
        return Recipe(
            optimizer=build(f"{key}.optimizer", settings.optimizer),
            schedule=build(f"{key}.schedule", settings.schedule),
            steps=settings.steps_over(num_rows),
            mix=mix_of(f"{key}.mix", settings),
            **own,
        )

    def student_steps(self) -> int:
        """How many optimizer steps the student takes."""
        return self.settings.student.recipe.steps_over(len(self.student_rows()))

    def baseline_recipe(self) -> RecipeSettings:
        """The student's recipe with the baseline's differences; as many steps as the student unless told otherwise."""
        assert self.settings.baseline is not None
        return self._alone(self.settings.baseline.recipe)

    def _alone(self, own: BaselineRecipe) -> RecipeSettings:
        """The student's recipe for labels alone."""
        student = self.settings.student.recipe
        changes = {k: v for k, v in own.model_dump(exclude={"optimizer", "epochs", "steps"}).items() if v is not None}
        optimizer = {**student.optimizer, **own.optimizer.model_dump(exclude_none=True)}
        steps = own.steps if own.epochs is not None or own.steps is not None else self.student_steps()
        recipe = student.model_copy(
            update={**changes, "optimizer": optimizer, "epochs": own.epochs, "steps": steps},
        )
        if student.early_stopping is None or own.early_stopping is not None:
            return recipe
        # As many steps as the student's, whose epochs are longer where it has more points.
        patience = student.early_stopping * student.steps_per_epoch(len(self.student_rows()))
        return recipe.model_copy(
            update={"early_stopping": -(-patience // recipe.steps_per_epoch(len(self.seen.train)))}
        )

    def feed(
        self,
        rows: torch.Tensor,
        recipe: Recipe,
        seed: int,
        views: Sequence[Augment] = (),
        *,
        workers: int | None = None,
    ) -> Feed:
        """The batches of one training; workers: another number than the trainer's."""
        kind = MemoryFeed if isinstance(self.data.source, InMemory) else StreamingFeed
        feed = kind(
            self.data,
            rows,
            batch_size=recipe.batch_size,
            total_steps=recipe.steps,
            seed=seed,
            augment=recipe.augment,
            views=views,
            draws=recipe.draws,
            mix=recipe.mix,
            accumulate=recipe.accumulate,
            by_length=recipe.by_length,
        )
        if isinstance(feed, StreamingFeed):
            feed.read_by(self.settings.trainer.workers if workers is None else workers)
        return feed
