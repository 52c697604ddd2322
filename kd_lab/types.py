"""The objects that are handed from layer to layer, and the contracts between the rooms, each defined once.

Legend: B batch, K classes, N samples of a dataset, R rows, C channels.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, Self, TypeGuard, runtime_checkable

import torch
from torch import Tensor, nn

from kd_lab.inputs import Inputs, facts, moved, select

UNLABELLED = -100
"""The target of a point without a label; `torch.nn.functional.cross_entropy` ignores the same number."""

Measurement = dict[str, float]
"""What was measured of one network: a key of `kd_lab.names` to its value."""

Shape = tuple[int, ...]
"""The shape of one sample's feature, without the batch: (C,), (C, length) or (C, height, width)."""

Augment = Callable[[Inputs, Tensor], Inputs]
"""A batch transform: inputs [B, ...] as the dataset has them and a seed for each sample [B] int64 to inputs of the same
shape. What becomes of a sample follows from it and its seed alone."""

Prepare = Callable[[Inputs], Inputs]
"""What is done to a batch on its device, augmented or not: rows as the dataset has them to what a network is given.

One with a `node`, the config that builds it again, is kept with a network and done to raw samples.
"""


@runtime_checkable
class Undoes(Protocol):
    """What made rows of samples as they came, and can say what these were."""

    def __call__(self, inputs: Inputs) -> Inputs:
        """Samples as they came [B, ...] to rows [B, ...]."""

    def undone(self, inputs: Inputs) -> Inputs:
        """Rows [B, ...] to samples of which they are made [B, ...], as they came or alike to the network."""


class Read(NamedTuple):
    """Samples of a file as they came, [B, ...], and what each is called there, empty where they have no names."""

    inputs: Inputs
    names: Sequence[str] = ()


class Reader(Protocol):
    """Reads samples as they come in files like those of a dataset, for a network that learned from it.

    node: the config that builds it again; it is kept with the network. meaning: what the numbers of a sample stand for,
    such as the words of a vocabulary; None where these need no names.
    """

    @property
    def node(self) -> dict[str, Any]:
        """See above."""

    @property
    def meaning(self) -> object:
        """See above; what is unequal is not to be given to the same network."""

    def batches(self, path: str, size: int) -> Iterator[Read]:
        """The samples of a file, at most `size` at a time, in order; `UserError` for what is wrong with it."""


Mix = Callable[[Inputs, Inputs, int], tuple[Inputs, float]]
"""Two batches [B, ...], as a network is given them, and a seed to one, and the share of the first in it, 0..1. What it
draws follows from the seed alone, and is the same for all samples."""


class Mixed(NamedTuple):
    """What is in the inputs of a mixed batch beside its own samples.

    targets: [B] int64, of the others. share: of the own ones, 0..1.
    """

    targets: Tensor
    share: float


def labelled(targets: Tensor, mixed: Mixed | None) -> Tensor:
    """How much of each sample has a label [B]: bool, or of samples that were mixed a float, 0..1."""
    own = targets != UNLABELLED
    return own if mixed is None else mixed.share * own + (1 - mixed.share) * (mixed.targets != UNLABELLED)


class Share(NamedTuple):
    """What turns the means of a piece of the samples of a step into its part of the means over all, scalars.

    Gradients are summed over the batches of a step and averaged over processes, so a mean over all its samples is made
    of `own mean * own count * processes / count of all`; hard: of labelled samples, soft: of all, gathered: of all,
    where one has seen the pieces of all processes.
    """

    hard: Tensor
    soft: Tensor
    gathered: Tensor | float = 1.0


class Batch(NamedTuple):
    """What a training step sees.

    inputs: [B, ...], as a network is given them. targets: [B] int64, `UNLABELLED` where there is no label.
    index: [B] int64, the row of each sample in its dataset, the same in every epoch. views: the same samples under
    other augmentations, one for each view that a loss asks for. share: of what several processes or batches divide.
    draw: inputs and views of a row are the same wherever this number is, unless they are mixed; 0 throughout where
    nothing is augmented. mixed: what else is in inputs and views. last: whether the optimizer steps after it.
    """

    inputs: Inputs
    targets: Tensor
    index: Tensor  # type: ignore[assignment]  # hides tuple.index, which nobody calls on a batch
    views: tuple[Inputs, ...] = ()
    share: Share | None = None
    draw: int = 0
    mixed: Mixed | None = None
    last: bool = True


class Source(Protocol):
    """Where the rows of a dataset lie."""

    def read(self, rows: Tensor) -> Inputs:
        """The rows [R], int64 numbers on the CPU: inputs [R, ...] as the dataset has them."""


class Pictures(Source, Protocol):
    """A source of pictures of any size. What `read` gives of them has one; an augmentation may cut from the whole ones.

    size: height and width of what `read` gives, [R, C, *size].
    """

    size: tuple[int, int]

    def whole(self, rows: Tensor) -> Sequence[Tensor]:
        """The pictures of the rows [R] as they are, each [C, H, W] with a height and width of its own."""

    def shown(self, pictures: Sequence[Tensor]) -> Tensor:
        """What `read` gives of these pictures."""


class Cutting(Protocol):
    """A batch transform that begins with a piece cut out of each sample: out of the whole one where there are pictures.

    cuts: whether it does.
    """

    @property
    def cuts(self) -> bool:
        """Whether it does: a transform made of others may not."""

    def cut(self, pictures: Sequence[Tensor], seeds: Tensor, size: tuple[int, int]) -> Inputs:
        """Pictures [C, H, W], each of its own size, and a seed for each [B] int64 to inputs [B, C, *size]."""


def cuts(augment: Augment) -> TypeGuard[Cutting]:
    """Whether a batch transform begins with a piece cut out of each sample."""
    return bool(getattr(augment, "cuts", False))


def has_whole(source: Source) -> TypeGuard[Pictures]:
    """Whether a source has whole pictures; by a name, because isinstance with a protocol is slow in every batch."""
    return hasattr(source, "whole")


def read_as(source: Source, rows: Tensor, changes: Sequence[tuple[Augment | None, Tensor]]) -> tuple[Inputs, ...]:
    """The rows [R], read once, under each augmentation with its seeds [R] int64; None leaves them."""
    if not has_whole(source):
        raw = source.read(rows)
        return tuple(raw if change is None else change(raw, seeds) for change, seeds in changes)
    whole, size = source.whole(rows), source.size
    shown = None if all(change is not None and cuts(change) for change, _ in changes) else source.shown(whole)

    def made(change: Augment | None, seeds: Tensor) -> Inputs:
        if change is not None and cuts(change):
            return change.cut(whole, seeds, size)
        assert shown is not None
        return shown if change is None else change(shown, seeds)

    return tuple(made(change, seeds) for change, seeds in changes)


class InMemory(NamedTuple):
    """Rows that lie in memory, [N, ...]."""

    inputs: Inputs

    def read(self, rows: Tensor) -> Inputs:
        """See `Source.read`."""
        return select(self.inputs, rows)


class Tokens(NamedTuple):
    """What the rows of texts consist of.

    vocab_size: how many different tokens there are; their numbers are below it. padding: the number behind shorter
    texts. tokenizer: the name or folder of the tokenizer that made them, empty where the words are those of the
    training texts.
    """

    vocab_size: int
    padding: int
    tokenizer: str


@dataclass(frozen=True)
class Data:
    """A dataset, cut into its four parts.

    source: its rows. targets: [N] int64, `UNLABELLED` where the label is unknown or hidden.
    train, transfer, validation, test: int64 row numbers. `train` is labelled; `transfer` is what a student sees while
    it is distilled, labelled and unlabelled points; validation and test are labelled and disjoint from both.
    fingerprint: sha256 (hex) over rows, targets, parts and what prepares them. augment: the batch transform that keeps
    this data's labels true, or None. prepare: what a network is given instead of the rows as they are, or None.
    from_raw: what made the rows of the samples as they came, or None where they are those; one that `Undoes` is kept
    with a network. reader: what reads samples as they came out of files like its own, kept with a network too; None
    where these are arrays. told: sentences on what was found in the files. class_names: what the classes are called in
    the files, in the order of their numbers; empty where they have no names. tokens: what the numbers of a text stand
    for, None where there are none.
    """

    name: str
    source: Source
    targets: Tensor
    train: Tensor
    transfer: Tensor
    validation: Tensor
    test: Tensor
    num_classes: int
    fingerprint: str
    augment: Augment | None = None
    prepare: Prepare | None = None
    from_raw: Undoes | None = None
    told: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()
    tokens: Tokens | None = None
    reader: Reader | None = None

    def read(self, rows: Tensor) -> Inputs:
        """The rows [R] as the dataset has them, [R, ...]."""
        return self.source.read(rows)

    def rows(self, rows: Tensor) -> "Rows":
        """Some rows, read as they are wanted."""
        return Rows(self, rows)

    def example(self, count: int) -> Inputs:
        """Real samples [count, ...] as a network is given them, on the CPU: those it trains on, repeated if need be."""
        return self.rows(self.transfer[torch.arange(count) % len(self.transfer)]).batch(0, count, "cpu")

    @property
    def input_shape(self) -> Any:
        """The shape of one sample as a network is given it, a `Shape`, or one by each name."""
        return facts(self.example(1), lambda one: tuple(one.shape[1:]))

    @property
    def given(self) -> dict[str, Any]:
        """What a network is told whose constructor asks for it by these names."""
        told = {"num_classes": self.num_classes, "input_shape": self.input_shape, "class_names": self.class_names}
        return told if self.tokens is None else told | self.tokens._asdict()


class Rows(NamedTuple):
    """Rows [R] of a dataset, which are read a batch at a time."""

    data: Data
    numbers: Tensor

    def __len__(self) -> int:
        """How many."""
        return len(self.numbers)

    @property
    def targets(self) -> Tensor:
        """Theirs, [R]."""
        return self.data.targets[self.numbers]

    def batch(self, start: int, size: int, device: torch.device | str) -> Inputs:
        """At most `size` of them from `start` on, as a network is given them, on the device."""
        read = moved(self.data.read(self.numbers[start : start + size]), device)
        return read if self.data.prepare is None else self.data.prepare(read)


class Feed(Protocol):
    """The batches of one training, epoch by epoch: `iter()` gives the next epoch, until `total_steps` are taken.

    A step is one batch, or several, the last of which says so. Order, augmentation and mixing follow from (seed, epoch,
    row) alone: the same on every device, with any number of workers and processes, from whichever step it starts.
    """

    total_steps: int

    @property
    def epochs(self) -> int:
        """How many are left, the last one perhaps cut short."""

    def start(self, step: int) -> Self:
        """The next batch is the first of this step, from 0."""

    def to(self, device: torch.device | str) -> Self:
        """Batches come on that device from now on."""

    def shard(self, rank: int, world: int) -> Self:
        """Each batch is this process's piece from now on."""

    def __len__(self) -> int:
        """Batches in a whole epoch."""

    def __iter__(self) -> Iterator[Batch]:
        """The next epoch."""


@dataclass(frozen=True)
class Outputs:
    """What a network says of a batch.

    logits: [R, K], a row for each sample (of a language model, for each token that counts). features: of the layers
    that were tapped, in their order, channels first: vectors [B, C], sequences [B, C, length] or maps
    [B, C, height, width]. views: the logits [R, K] of each of the batch's views.
    """

    logits: Tensor
    features: tuple[Tensor, ...] = ()
    views: tuple[Tensor, ...] = ()


class Teacher(Protocol):
    """Whatever answers a batch and never changes: no parameter of a training, in no checkpoint.

    samples: how many it has answered by forward passes; each view of one is one more.
    """

    samples: int

    @property
    def identity(self) -> str:
        """What its answers follow from, beside the batch."""

    def attach(self, device: torch.device | str) -> Self:
        """Be ready to answer on this device."""

    def __call__(self, batch: Batch) -> Outputs:
        """Logits, features and the logits of the views, without a graph."""

    def release(self) -> None:
        """Leave no trace on what it holds."""

    def state_dict(self) -> dict[str, Any]:
        """What of its answering a training that goes on has to know."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""


@dataclass(frozen=True)
class LossTerms:
    """The objective of one step: `total` (scalar, with gradient) and each term by name, before its weight.

    labelled: the terms that are means over the labelled samples alone. teacher_top: the largest logit of the teacher's
    answer, a scalar: not finite where one is NaN or infinite. A class that is masked with -inf is none of that.
    """

    total: Tensor
    terms: Mapping[str, Tensor]
    labelled: frozenset[str] = frozenset()
    teacher_top: Tensor | None = None


class Step(Protocol):
    """What a training does with a batch: a module, whose parameters are trained. Distilling is one.

    network: what comes out of the training, and is followed on the validation part.
    """

    network: nn.Module

    def attach(self, device: torch.device) -> None:
        """A training on this device begins."""

    def __call__(self, batch: Batch) -> LossTerms:
        """The objective of one batch; nothing is moved."""

    def release(self) -> None:
        """The training is over, however it ended."""

    def at_step(self, step: int, total_steps: int) -> None:
        """Set what is scheduled to its value for this optimizer step, 0 for the first."""

    def readings(self) -> dict[str, float]:
        """What is worth a curve beside the terms."""

    def own_buffers(self) -> list[str]:
        """Buffers that all processes keep alike by themselves, by name: DDP need not send them."""

    def followed(self) -> Mapping[str, nn.Module]:
        """What is followed on the validation part beside the network, inputs to logits, by name."""


@dataclass(frozen=True)
class NetworkResult:
    """One trained (or loaded) network of a job: its role, where it is kept and what was measured."""

    role: str
    run_id: str
    measurement: Measurement
    weights_sha256: str
    reused: bool


@dataclass(frozen=True)
class RunResult:
    """What one job found: teacher and baseline where there are any, and the student.

    test_samples, num_classes: of the test part that all were measured on. remarks: what to know before believing it.
    links, peers: what a strategy obtained before the student, and what it trained with it.
    """

    teacher: NetworkResult | None
    baseline: NetworkResult | None
    student: NetworkResult
    validation_accuracy: float | None
    test_samples: int = 0
    num_classes: int = 0
    remarks: tuple[str, ...] = ()
    links: tuple[NetworkResult, ...] = ()
    peers: tuple[NetworkResult, ...] = ()

    def networks(self) -> list[NetworkResult]:
        """Those that are compared and are there, teacher first."""
        return [n for n in (self.teacher, self.baseline, self.student) if n is not None]

    def all(self) -> list[NetworkResult]:
        """Those and the strategy's, each link behind the teacher, each peer behind the student."""
        first = [n for n in (self.teacher, *self.links, self.baseline) if n is not None]
        return [*first, self.student, *self.peers]
