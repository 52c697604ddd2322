"""The losses meet the two networks: layers are found, shapes probed, trainable parts built, the objective made."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, cast

import torch
from torch import nn

from kd_lab.errors import UserError
from kd_lab.insight.attention import heads
from kd_lab.insight.pairing import Pair
from kd_lab.insight.probe import SAMPLES, Probe
from kd_lab.insight.taps import Tap
from kd_lab.job.build import build, call, locate, parameters
from kd_lab.job.class_weights import class_weights
from kd_lab.job.loss_settings import TermSettings
from kd_lab.job.pairs import compared, each, of_texts
from kd_lab.job.settings import Settings
from kd_lab.job.strict import Node
from kd_lab.losses.common.loss import Loss, Stage
from kd_lab.models.common.deployed import Deployed
from kd_lab.training.objective import Objective, Term
from kd_lab.types import Augment, Data


@dataclass(frozen=True)
class Bound:
    """What trains a student: the objective, the layers to listen to, and what comes before and beside it.

    pairs: by term. unused: a sentence for each setting without effect. stages: a first stage by term, with the term
    that it minimises. views: each makes one more view of a batch.
    """

    objective: Objective
    student_taps: tuple[Tap, ...] = ()
    teacher_taps: tuple[Tap, ...] = ()
    pairs: Mapping[str, tuple[Pair, ...]] = field(default_factory=dict)
    stages: Mapping[str, tuple[Stage, Term]] = field(default_factory=dict)
    views: tuple[Augment, ...] = ()
    unused: tuple[str, ...] = ()

    def described(self) -> list[str]:
        """One line per pair: term, student's layer, teacher's layer, with their shapes; what is not used."""
        lines = [f"{name}: {line}" for name, pairs in self.pairs.items() for line in map(described, pairs)]
        return [*lines, *self.unused]


def described(pair: Pair) -> str:
    """`layer3 [64, 8, 8] learns from layer3 [256, 8, 8]`."""
    student = f"{pair.student.name} {list(pair.student_shape)}"
    return f"{student} learns from {pair.teacher.name} {list(pair.teacher_shape)}"


def loss_class(name: str, term: TermSettings) -> type[Loss]:
    """The class of a term.

    Raises:
        UserError: it cannot be imported, or is no loss.
    """
    found = locate(f"loss.terms.{name}", term.node.get("_target_"))
    if not (isinstance(found, type) and issubclass(found, Loss)):
        raise UserError(
            f"loss.terms.{name}._target_={term.node.get('_target_')}: expected a class derived from "
            "kd_lab.losses.common.loss.Loss"
        )
    if term.standardize and found.layers is not None:
        raise UserError(f"loss.terms.{name}.standardize=true: {name} compares layers; expected a loss of the logits")
    return found


def bind(
    settings: Settings, data: Data, student: nn.Module, teacher: nn.Module | None, *, every_pair: bool = False
) -> Bound:
    """Build the student's objective for these two networks.

    every_pair: a loss of layers compares each layer of the student with each of the teacher, and each pair is a term,
    with an equal part of the weight.

    Raises:
        UserError: a layer does not exist, shapes cannot be matched, or a setting is wrong; the message names the key.
    """
    networks = _Networks(settings, data, student, teacher, every_pair=every_pair)
    torch.manual_seed(settings.seed)  # the initial weights of projectors follow the seed, as the student's do
    slots = _Slots()
    terms: dict[str, Term] = {}
    stages: dict[str, tuple[Stage, Term]] = {}
    pairs: dict[str, tuple[Pair, ...]] = {}
    for given, term in settings.loss.terms.items():
        kind = loss_class(given, term)
        parts = networks.parts(given, term, kind)
        for name, some in parts.items():
            pairs[name] = some
            loss = networks.build(given, term, kind, some)
            own, theirs = slots.of(some)
            seen = slots.of_views(_views(given, loss, data))
            key = f"loss.terms.{given}.schedules"
            schedules = {k: build(f"{key}.{k}", v) for k, v in term.schedules.items()}
            terms[name] = Term(loss, term.weight / len(parts), term.standardize, own, theirs, seen, schedules)
            stage = loss.first_stage()
            if stage is not None:
                stages[name] = (stage, replace(terms[name], loss=stage.loss, weight=1.0, schedules={}))
                if stage.only:
                    del terms[name]
    hard = settings.loss.hard_schedule
    arguments = {
        "terms": terms,
        "hard_weight": settings.loss.hard_weight,
        "label_smoothing": settings.student.recipe.label_smoothing,
        "class_weights": class_weights("student.recipe", settings.student.recipe.class_weights, data, data.train),
        "hard_schedule": None if hard is None else build("loss.schedules.hard_weight", hard),
    }
    objective = call("loss", Objective, arguments)
    shown = {name: found for name, found in pairs.items() if found}
    taps = tuple(slots.student), tuple(slots.teacher)
    return Bound(objective, *taps, shown, stages, tuple(slots.views), () if shown else _unused_layers(settings))


def _unused_layers(settings: Settings) -> tuple[str, ...]:
    given = {"teacher": settings.teacher and settings.teacher.layers, "student": settings.student.layers}
    loss = "+".join(settings.loss.terms) or "none"
    return tuple(f"{role}.layers is not used: loss={loss} compares no layers" for role, named in given.items() if named)


def _views(name: str, loss: Loss, data: Data) -> Sequence[Augment]:
    """What makes the views that a loss wants, tried on a sample: what does not fit speaks now."""
    sample = data.read(data.transfer[:1])
    for view in loss.views():
        call(f"loss.terms.{name}", view, {"inputs": sample, "seeds": torch.zeros(1, dtype=torch.int64)})
    return loss.views()


def deployed_node(settings: Settings, data: Data, student: nn.Module, teacher: nn.Module | None) -> Node | None:
    """What builds the network that takes the student's place, if a loss changes what is deployed; else None."""
    for name, term in settings.loss.terms.items():
        kind = loss_class(name, term)
        if kind.deploys is None:
            continue
        networks = _Networks(settings, data, student, teacher)
        (pair,) = networks.pairs(name, term, kind)
        networks.build(name, term, kind, (pair,))  # its own checks speak first
        own, theirs = networks.student_probe, networks.teacher_probe
        classifier = theirs.head_module()
        if own.head is None or classifier is None:
            raise UserError(_no_head(name, "student" if own.head is None else "teacher"))
        facts: dict[str, Any] = {
            "tap": asdict(pair.student),
            "own_head": own.head,
            "teacher_layer": pair.teacher.name,
            "student_shape": list(pair.student_shape),
            "teacher_shape": list(pair.teacher_shape),
            "head_bias": getattr(classifier, "bias", None) is not None,
            **{k: v for k, v in term.node.items() if k != "_target_"},
        }
        accepted = parameters(locate(f"loss.terms.{name}", kind.deploys))
        used = {k: v for k, v in facts.items() if k in accepted}
        return {"_target_": kind.deploys, "student": settings.student.node, **used}
    return None


def meet(bound: Bound, student: nn.Module, teacher: nn.Module, data: Data) -> None:
    """The teacher is trained: what losses and student take of its own weights, they take now."""
    for loss in [*bound.objective.losses.values(), *(stage.loss for stage, _ in bound.stages.values())]:
        cast("Loss", loss).read_teacher()
    if isinstance(student, Deployed):
        classifier = Probe.of(teacher, data.example(SAMPLES)).head_module()
        assert classifier is not None, "checked when the network was planned"
        student.adopt(classifier)


class _Networks:
    """Both networks, looked at once and only if a loss asks."""

    def __init__(
        self,
        settings: Settings,
        data: Data,
        student: nn.Module,
        teacher: nn.Module | None,
        *,
        every_pair: bool = False,
    ) -> None:
        self.settings, self.data, self.every_pair = settings, data, every_pair
        self._modules = {"student": student, "teacher": teacher}
        self._probes: dict[str, Probe] = {}

    @property
    def student_probe(self) -> Probe:
        return self._probe("student")

    @property
    def teacher_probe(self) -> Probe:
        return self._probe("teacher")

    def _probe(self, whose: str) -> Probe:
        if whose not in self._probes:
            module = self._modules[whose]
            assert module is not None, whose
            self._probes[whose] = Probe.of(module, self.data.example(SAMPLES))
        return self._probes[whose]

    def pairs(self, name: str, term: TermSettings, kind: type[Loss]) -> tuple[Pair, ...]:
        """The layers that a term compares."""
        if kind.layers is None:
            return ()
        if self._modules["teacher"] is None:
            raise UserError(f"teacher=none: loss={name} needs a teacher; choose one, such as teacher=cnn")
        teacher = self.settings.teacher
        theirs = term.teacher_layers or (teacher.layers if teacher else None)
        own = term.student_layers or self.settings.student.layers
        student = self._modules["student"]
        if isinstance(student, Deployed) and kind.deploys is not None:
            own, theirs = ([layer] for layer in student.compares)
        try:
            found = compared(kind, self.student_probe, self.teacher_probe, own, theirs, every=self.every_pair)
            return tuple(of_texts(kind, found) if self.data.tokens is not None else found)
        except ValueError as error:
            raise UserError(f"loss.terms.{name}: {error}") from error

    def parts(self, name: str, term: TermSettings, kind: type[Loss]) -> dict[str, tuple[Pair, ...]]:
        """What a term compares: by its name, or where every pair is a term of its own, by theirs."""
        pairs = self.pairs(name, term, kind)
        return each(name, pairs) if pairs and self.every_pair else {name: pairs}

    def build(self, name: str, term: TermSettings, kind: type[Loss], pairs: tuple[Pair, ...]) -> Loss:
        """The loss, given what its constructor asks for."""
        try:
            built: Loss = build(f"loss.terms.{name}", term.node, self._given(name, kind, pairs))
        except UserError as error:
            if not pairs:
                raise
            told = "; ".join(map(described, pairs))
            raise UserError(f"{str(error).rstrip('.')}; compared were {told}; {self._listed()}") from error
        return built

    def _given(self, name: str, kind: type[Loss], pairs: tuple[Pair, ...]) -> Node:
        wanted = parameters(kind)
        given: Node = {
            "student_shapes": tuple(pair.student_shape for pair in pairs),
            "teacher_shapes": tuple(pair.teacher_shape for pair in pairs),
            "num_classes": self.data.num_classes,
            "num_samples": len(self.data.targets),
            "targets": self.data.targets,
            "transfer": self.data.transfer,
        }
        for whose, paths in (
            ("student", [p.student.path for p in pairs]),
            ("teacher", [p.teacher.path for p in pairs]),
        ):
            if f"{whose}_heads" in wanted:
                given[f"{whose}_heads"] = heads(self._probe(whose), paths)
        for whose in ("student", "teacher"):
            if f"{whose}_head" in wanted:
                head = self._probe(whose).head_module()
                if head is None:
                    raise UserError(_no_head(name, whose))
                given[f"{whose}_head"] = head
        if "teacher_norms" in wanted:
            probe = self.teacher_probe
            given["teacher_norms"] = tuple(probe.norm_before(p.teacher, p.teacher_shape[0]) for p in pairs)
        return given

    def _listed(self) -> str:
        parts = []
        for whose in ("student", "teacher"):
            layers = ", ".join(f"{x.path} {list(x.shape)}" for x in self._probe(whose).spine())
            parts.append(f"the {whose} has {layers}")
        return "; ".join(parts)


def _no_head(name: str, whose: str) -> str:
    return (
        f"loss.terms.{name}: the {whose} has no single linear classifier that gives its logits, which {name} needs; "
        f"choose another {whose}, such as {whose}=cnn"
    )


class _Slots:
    """Every layer that is listened to, once, whoever compares it."""

    def __init__(self) -> None:
        self.student: list[Tap] = []
        self.teacher: list[Tap] = []
        self.views: list[Augment] = []

    def of_views(self, views: Sequence[Augment]) -> tuple[int, ...]:
        """Every loss draws its own."""
        self.views += views
        return tuple(range(len(self.views) - len(views), len(self.views)))

    def of(self, pairs: tuple[Pair, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        own = tuple(self._slot(self.student, pair.student) for pair in pairs)
        theirs = tuple(self._slot(self.teacher, pair.teacher) for pair in pairs)
        return own, theirs

    @staticmethod
    def _slot(taps: list[Tap], tap: Tap) -> int:
        if tap not in taps:
            taps.append(tap)
        return taps.index(tap)
