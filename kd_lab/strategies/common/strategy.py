"""How a student is taught, beside the loss: who teaches it, who is taught before it, and what a step does.

A strategy is a class of its own in `kd_lab/strategies/NAME.py`, derived from `Strategy`, and overrides what it changes.
It is built from conf/strategy/NAME.yaml, whose keys are the arguments of its constructor. Keys called `path`,
`teachers` or `peers` hold networks: names of conf/model (`cnn`, `mlp_64`), or a name with settings.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from torch import Tensor, nn

from kd_lab.insight.pairing import Pair
from kd_lab.insight.taps import Tap
from kd_lab.training.distiller import Distiller
from kd_lab.training.objective import Objective
from kd_lab.training.recipe import Recipe
from kd_lab.types import Data, Feed, Step, Teacher

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Node = Mapping[str, Any]

TEACHER = 0
"""The number of the job's own teacher among those that a network may be taught by; link i, from 1, has number i."""
LABELS = "the labels"
"""What teaches where there is no teacher."""


@dataclass(frozen=True)
class Link:
    """A network that is obtained before the student: found again, or trained, in a run of its own.

    node: what builds it; None: the student's own network. teachers: who teaches it, by number, each before it; none:
    the labels alone. is_teacher: it is a teacher as the job's own is, under the teacher's recipe, by labels alone; it
    is found again by whatever job needs the same. follows_seed: it belongs to the student's seed, from which its own
    follows; else it follows the teacher's, and all seeds of the student share it. or_labels: where none of its teachers
    is there, it learns from the labels alone.
    """

    node: Node | None = None
    teachers: tuple[int, ...] = (TEACHER,)
    is_teacher: bool = False
    follows_seed: bool = False
    or_labels: bool = False


@dataclass(frozen=True)
class Parties:
    """The networks of a job, built and not yet trained, for a strategy to judge.

    teacher: the job's, or None. links, peers: in the strategy's order. compares_layers: whether a term of the loss
    does. data: with its parts. recipe: the student's.
    """

    teacher: nn.Module | None
    student: nn.Module
    links: tuple[nn.Module, ...]
    peers: tuple[nn.Module, ...]
    objective: Objective
    compares_layers: bool
    data: Data
    recipe: Recipe | None = None

    @property
    def compiled(self) -> bool:
        """Whether the student runs as torch.compile makes it."""
        return self.recipe is not None and self.recipe.compile


@dataclass(frozen=True)
class Training:
    """A training that a strategy makes the step for.

    network: the student, or a link that several teach. objective: what the loss asks. teachers: those that teach it, in
    the order that the strategy named, trained, answering from what is kept where that is the same; networks: the same
    as modules. taps: the student's layers that the objective compares. peers: networks of `Strategy.peers`. data: all
    of it. validation: batches of the validation part as they are, in an order of their own, as many as there are steps;
    None where there is none. steps: how many the optimizer takes. seed: of this training. compiled: see `Distiller`.
    steps_per_epoch: of the optimizer. pairs: by term, the layers that the objective compares.
    """

    network: nn.Module
    objective: Objective
    teachers: tuple[Teacher, ...]
    networks: tuple[nn.Module, ...]
    taps: tuple[Tap, ...]
    peers: tuple[nn.Module, ...]
    data: Data
    validation: Feed | None
    steps: int
    seed: int
    compiled: bool = False
    steps_per_epoch: int = 1
    pairs: Mapping[str, tuple[Pair, ...]] = field(default_factory=dict)

    @property
    def teacher(self) -> Teacher | None:
        """The only one.

        Raises:
            ValueError: there are several, which a strategy that does not say what to do with them cannot have.
        """
        if len(self.teachers) > 1:
            raise ValueError(f"Expected one teacher, but got {len(self.teachers)}.")
        return self.teachers[0] if self.teachers else None


class Taught(Distiller):
    """Plain distillation, with one teacher or none; the base of steps that change something of it.

    Args:
        training: what is trained, for what, and by whom.
    """

    def __init__(self, training: Training) -> None:
        super().__init__(
            training.network,
            training.objective,
            teacher=training.teacher,
            taps=training.taps,
            compiled=training.compiled,
        )


@runtime_checkable
class Illustrated(Protocol):
    """A step with something to show when its training is over."""

    def figures(self) -> "Mapping[str, Figure]":
        """By the artifact that each is kept as."""


@runtime_checkable
class AsksItself(Protocol):
    """A step that asks the teachers by itself, for what the data do not hold; see `Strategy.asks_rows`."""

    @property
    def teacher_samples(self) -> int:
        """How many samples they have answered by forward passes in this training."""


@runtime_checkable
class LearnsRanges(Protocol):
    """A step that learns between which values the inputs of the student's layers lie, for int8."""

    def activation_ranges(self) -> Tensor:
        """The least and the largest of each layer [L, 2], in the order of `kd_lab.insight.int8.layers`."""


class Strategy:
    """Plain distillation, and the base of all others.

    teacher_share: the share of its recipe's steps that the job's teacher takes. on_transfer: whether the student sees
    the unlabelled points even where no loss asks a teacher. needs_loss: whether it is nothing without a loss that does.
    asks_rows: whether the teachers are asked for what the data hold; else none of their answers is kept.
    replaces_loss: whether its step has terms of its own in the loss's place, which must be loss=kd then.
    measures_together: whether the mean probability of student and links is measured, as a number of its own.
    measures_int8: whether the job's networks are measured in int8 too, as with measure.int8=true.
    every_pair: whether a loss of layers compares each layer of the student with each of the teacher, a term each.
    """

    teacher_share: float = 1.0
    on_transfer: bool = False
    needs_loss: bool = True
    asks_rows: bool = True
    replaces_loss: bool = False
    measures_together: bool = False
    measures_int8: bool = False
    every_pair: bool = False

    def links(self) -> tuple[Link, ...]:
        """What is obtained before the student, in this order."""
        return ()

    def taught_by(self) -> tuple[int, ...]:
        """Who teaches the student, by number; its losses are bound to the last of them."""
        return (TEACHER,)

    def peers(self) -> tuple[Node | None, ...]:
        """What builds the networks that are trained with the student, in the same steps; None: its own network."""
        return ()

    def learns(self) -> str:
        """What it learns beside the network, and from which part of the data, in a phrase; empty: nothing."""
        return ""

    def check(self, parties: Parties) -> None:
        """Look at the networks before anything is trained.

        Raises:
            ValueError: they do not fit the strategy, or the loss has no meaning with it.
        """

    def recipe(self, recipe: Recipe) -> Recipe:
        """How the student is trained, made of the recipe that was chosen."""
        return recipe

    def step(self, training: Training) -> Step:
        """What a training does with a batch."""
        return Taught(training)

    def described(self, teacher: str, student: str, links: tuple[str, ...]) -> str:
        """What will be done, in a sentence.

        Args:
            teacher: what the job's teacher is called; `the labels` where there is none.
            student: what the student is called.
            links: what the links are called.
        """
        called = (teacher, *links)
        told = [
            f"{name} learns from {' and '.join(called[number] for number in link.teachers) or LABELS}"
            for name, link in zip(links, self.links(), strict=True)
        ]
        taught = " and ".join(called[number] for number in self.taught_by())
        return ", ".join([*told, f"the student {student} from {taught}"])
