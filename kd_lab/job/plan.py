"""From a checked config to ready objects: everything that can be wrong is found here, before anything is trained."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import nn

import kd_lab
from kd_lab import names
from kd_lab.datasets.common.splits import leave_out
from kd_lab.errors import UserError
from kd_lab.feeds.memory import MemoryFeed
from kd_lab.inputs import call as call_network
from kd_lab.inputs import shapes
from kd_lab.job.bind import Bound, adopt, bind, deployed_node, loss_class
from kd_lab.job.build import build, call, check_arguments, is_node, locate, parameters
from kd_lab.job.code import code_of
from kd_lab.job.devices import Devices, resolve
from kd_lab.job.measured import Bench
from kd_lab.job.settings import BaselineRecipe, NetworkSettings, RecipeSettings, Settings
from kd_lab.job.strict import Node
from kd_lab.measures.predict import eval_mode
from kd_lab.models.common.weights import load_weights
from kd_lab.training.recipe import Recipe
from kd_lab.types import Augment, Data, Feed

TRAIN = "train"
TRANSFER = "transfer"


@dataclass(frozen=True)
class Plan:
    """One job, ready to run."""

    settings: Settings
    devices: Devices
    data: Data

    @classmethod
    def of(cls, settings: Settings) -> "Plan":
        """Check what needs no data, load the data, check what needs it.

        Raises:
            UserError: Something cannot work; the message names the key, the value and what was expected.
        """
        dataset = build("dataset", settings.dataset)
        _check_terms(settings)
        for key, network in _networks(settings):
            locate(key, network.node.get("_target_"))
            _check_optimizer(f"{key}.recipe", network.recipe)
        devices = resolve(settings.trainer)
        data: Data = call("dataset", dataset.load, {})
        plan = cls(settings, devices, data)
        built: dict[str, nn.Module] = {}
        for key, network in _networks(settings):
            rows = data.train if key == "teacher" else plan.student_rows()
            if network.weights in {None, "pretrained"}:
                check_batch(f"{key}.recipe", network.recipe.batch_size, len(rows))
                plan.check_schedule(f"{key}.recipe", network.recipe, len(rows))
            elif str(network.weights).startswith("run:"):
                continue  # that run says what network it is; nothing is built from here
            check_logits(key, made := plan.network(key, network.node), data)
            built[key] = made
            if key == "teacher":
                _check_weights(network.weights, network.node, made)
        if settings.baseline is not None:
            check_batch("baseline.recipe", plan.baseline_recipe().batch_size, len(plan.seen.train))
        if settings.teacher is None or "teacher" in built:  # else the run says what network it is, see `look_up`
            plan.student(built.get("teacher"))
        return plan

    @property
    def bench(self) -> Bench:
        """On what, where and how this job measures."""
        return Bench(self.data, self.devices, self.settings.measure)

    def network(self, key: str, node: Node, seed: int = 0) -> nn.Module:
        """Build a network for this dataset; the seed fixes its initial weights.

        Raises:
            UserError: The arguments do not fit the class, or the class not the dataset's shape.
        """
        torch.manual_seed(seed)
        given = {"num_classes": self.data.num_classes, "input_shape": self.data.input_shape}
        network = build(key, node, given)
        if not isinstance(network, nn.Module):
            raise UserError(
                f"{key}._target_={node.get('_target_')}: expected a torch.nn.Module, got {type(network).__name__}"
            )
        return network

    @property
    def distils(self) -> bool:
        """Whether a loss asks a teacher; regularizers alone train the student on what the baseline is trained on."""
        return any(loss_class(name, term).needs_teacher for name, term in self.settings.loss.terms.items())

    @cached_property
    def seen(self) -> Data:
        """The data of which student and baseline see train and transfer: all but `student.without_classes`."""
        classes = self.settings.student.without_classes
        if not classes:
            return self.data
        return leave_out(self.data, classes, f"student.without_classes={classes}")

    def described(self) -> list[str]:
        """What is left out of the student's data, a sentence."""
        without = sorted({*self.settings.student.without_classes})
        if not without:
            return []
        called = "class" if len(without) == 1 else "classes"
        kept = f"{len(self.seen.transfer):,} of {len(self.data.transfer):,} training points"
        return [f"student and baseline see no sample of {called} {', '.join(map(str, without))}: {kept}"]

    def student_rows(self) -> torch.Tensor:
        """What the student is trained on: the transfer part where a teacher answers, else the labelled one."""
        return self.seen.transfer if self.student_part() == TRANSFER else self.seen.train

    def student_part(self) -> str:
        """The name of that part of the data."""
        return TRANSFER if self.distils else TRAIN

    def student(self, teacher: nn.Module | None) -> tuple[Node, Bound]:
        """What builds the network that is trained as the student, and what it is trained for.

        A loss may put another network in the student's place (SimKD); then the node says how to build that one.

        Raises:
            UserError: a loss cannot compare student and teacher.
        """
        plain = self.settings.student.node
        network = self.network("student", plain, self.settings.seed)
        node = deployed_node(self.settings, self.seen, network, teacher)
        if node is not None:
            network = self.network("student", node, self.settings.seed)
        return node or plain, self.bound(network, teacher)

    def bound(self, student: nn.Module, teacher: nn.Module | None) -> Bound:
        """The objective for a network that `student` told how to build, beside this teacher; see there for errors."""
        if teacher is not None:
            adopt(student, self.data, teacher)
        return bind(self.settings, self.seen, student, teacher)

    def recipe(self, key: str, settings: RecipeSettings, num_rows: int) -> Recipe:
        """The recipe with its length in steps; the last, incomplete batch of an epoch is a step too."""
        steps = settings.steps or (settings.epochs or 0) * -(-num_rows // settings.batch_size)
        return Recipe(
            optimizer=build(f"{key}.optimizer", settings.optimizer),
            schedule=build(f"{key}.schedule", settings.schedule),
            steps=steps,
            batch_size=settings.batch_size,
            label_smoothing=settings.label_smoothing,
            clip_norm=settings.clip_norm,
            precision=settings.precision,
            augment=settings.augment,
        )

    def check_schedule(self, key: str, settings: RecipeSettings, num_rows: int) -> None:
        """Ask for the first learning rate: a warm-up longer than the training speaks now."""
        recipe = self.recipe(key, settings, num_rows)
        base = recipe.build_optimizer([nn.Parameter(torch.zeros(1))]).param_groups[0]["lr"]
        call(f"{key}.schedule", recipe.schedule, {"step": 0, "base": base, "total_steps": recipe.steps})

    def student_steps(self) -> int:
        """How many optimizer steps the student takes."""
        recipe = self.settings.student.recipe
        return recipe.steps or (recipe.epochs or 0) * -(-len(self.student_rows()) // recipe.batch_size)

    def baseline_recipe(self) -> RecipeSettings:
        """The student's recipe with the baseline's differences; as many steps as the student unless told otherwise."""
        assert self.settings.baseline is not None
        own: BaselineRecipe = self.settings.baseline.recipe
        student = self.settings.student.recipe
        changes = {k: v for k, v in own.model_dump(exclude={"optimizer", "epochs", "steps"}).items() if v is not None}
        optimizer = {**student.optimizer, **own.optimizer.model_dump(exclude_none=True)}
        steps = own.steps if own.epochs is not None or own.steps is not None else self.student_steps()
        return student.model_copy(update={**changes, "optimizer": optimizer, "epochs": own.epochs, "steps": steps})

    def key(self, role: str, node: Node, recipe: RecipeSettings | None, seed: int, **more: str) -> str:
        """What a trained network is found again by: data, network, recipe, seed, and the code of all of them."""
        facts = {
            "role": role,
            "version": kd_lab.__version__,
            "data": self.data.fingerprint,
            "network": node,
            "code": self.code(node, recipe),
            "recipe": recipe.model_dump() if recipe else None,
            "augment": self._augment(recipe),
            "seed": seed,
            **more,
        }
        without = self.settings.student.without_classes
        if without and role != names.TEACHER:
            facts["without_classes"] = sorted({*without})
        return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()

    def code(self, node: Node, recipe: RecipeSettings | None) -> str:
        """The hash of the source that such a network follows from."""
        return code_of([node, recipe.model_dump() if recipe else None, self._augment(recipe)])

    def _augment(self, recipe: RecipeSettings | None) -> object:
        return self.settings.dataset.get("augment") if recipe and recipe.augment else None

    def feed(self, rows: torch.Tensor, recipe: Recipe, seed: int, views: Sequence[Augment] = ()) -> Feed:
        """The batches of one training."""
        return MemoryFeed(
            self.data,
            rows,
            batch_size=recipe.batch_size,
            total_steps=recipe.steps,
            seed=seed,
            augment=recipe.augment,
            views=views,
        )


def _networks(settings: Settings) -> list[tuple[str, NetworkSettings]]:
    networks = [("teacher", settings.teacher), ("student", settings.student)]
    return [(key, network) for key, network in networks if network is not None]


def _check_terms(settings: Settings) -> None:
    """What of the losses can be judged without data and networks: classes, names of settings, schedules, a teacher."""
    for name, term in settings.loss.terms.items():
        key = f"loss.terms.{name}"
        kind = loss_class(name, term)
        if kind.needs_teacher and settings.teacher is None:
            raise UserError(
                f"teacher=none: loss={'+'.join(settings.loss.terms)} needs a teacher; "
                "choose one, such as teacher=cnn, or loss=none"
            )
        own = {k: v for k, v in term.node.items() if k != "_target_"}
        check_arguments(key, kind, {k: v for k, v in own.items() if not is_node(v)})
        if all(n in own or p.default is not p.empty for n, p in parameters(kind).items()):
            build(key, term.node)  # it wants to know nothing of data and networks: its own checks speak now
        for setting, node in term.schedules.items():
            build(f"{key}.schedules.{setting}", node)


def _check_optimizer(key: str, recipe: RecipeSettings) -> None:
    """Build the optimizer once for one parameter: its own checks speak now, not later."""
    call(f"{key}.optimizer", build(f"{key}.optimizer", recipe.optimizer), {"params": [nn.Parameter(torch.zeros(1))]})
    build(f"{key}.schedule", recipe.schedule)


def _check_weights(weights: str | None, node: Node, network: nn.Module) -> None:
    """Try a file of weights now; a run is looked up when the store is open."""
    if weights is None or weights.startswith("run:"):
        return
    if weights == "pretrained":
        if "pretrained" not in parameters(locate("teacher", node.get("_target_"))):
            raise UserError(
                f"teacher.weights=pretrained: {node.get('_target_')} has no published weights; "
                "choose teacher=timm or teacher=torchvision"
            )
        return
    try:
        load_weights(network, Path(weights).expanduser())
    except UserError as error:
        raise UserError(f"teacher.{error}") from error


def check_batch(key: str, batch_size: int, num_rows: int) -> None:
    """Raise a UserError if there are fewer samples than one batch takes."""
    if batch_size > num_rows:
        raise UserError(
            f"{key}.batch_size={batch_size}: larger than the {num_rows} samples it is drawn from; "
            f"expected at most {num_rows}"
        )


def check_logits(key: str, network: nn.Module, data: Data) -> None:
    """Run two samples through the network and check that logits for this dataset's classes come out.

    Raises:
        UserError: The network cannot take the dataset's shape, or answers for another number of classes.
    """
    try:
        with eval_mode(network), torch.no_grad():
            logits = call_network(network, data.example(2))
    except Exception as error:  # a user's network may raise anything
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"{key}: the network cannot take this dataset's samples of shape {shapes(data.example(1))} ({reason}); "
            "expected a network for that shape"
        ) from error
    got = list(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
    if got != [2, data.num_classes]:
        raise UserError(
            f"{key}: expected logits of shape [batch, {data.num_classes}], one for each class of the dataset, "
            f"but a batch of 2 gave {got}"
        )
