"""The whole config, checked: types, ranges and names of all that needs neither data nor a network to be judged."""

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from kd_lab.errors import UserError, choices
from kd_lab.run.build import complaint

Node = dict[str, Any]
RESERVED = ("recipe", "weights", "reuse", "seed", "layers")
"""The keys of `teacher` and `student` that are not arguments of the network."""

OF_TERM = ("weight", "hard_weight", "standardize", "schedules", "student_layers", "teacher_layers")
"""The keys of a term that are not arguments of the loss."""


class Strict(BaseModel):
    """A part of the config in which every key is known."""

    model_config = ConfigDict(extra="forbid", frozen=True)


PositiveInt = Annotated[int, Field(gt=0)]
Smoothing = Annotated[float, Field(ge=0, lt=1)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
PrecisionName = Annotated[Literal["32", "bf16-mixed", "16-mixed"], BeforeValidator(str)]


class RecipeSettings(Strict):
    """`teacher.recipe` and `student.recipe`."""

    epochs: PositiveInt | None
    steps: PositiveInt | None
    batch_size: PositiveInt
    label_smoothing: Smoothing
    clip_norm: PositiveFloat | None
    precision: PrecisionName
    augment: bool
    optimizer: Node
    schedule: Node


class BaselineOptimizer(Strict):
    """What a baseline may have of its own in the student's optimizer."""

    lr: PositiveFloat | None = None
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None


class BaselineRecipe(Strict):
    """`baseline.recipe`: null is as the student's."""

    epochs: PositiveInt | None = None
    steps: PositiveInt | None = None
    batch_size: PositiveInt | None = None
    label_smoothing: Smoothing | None = None
    clip_norm: PositiveFloat | None = None
    precision: Annotated[Literal["32", "bf16-mixed", "16-mixed"] | None, BeforeValidator(lambda v: v and str(v))] = None
    augment: bool | None = None
    optimizer: BaselineOptimizer = BaselineOptimizer()


class BaselineSettings(Strict):
    """`baseline`; `baseline=false` leaves it out."""

    reuse: bool = True
    recipe: BaselineRecipe = BaselineRecipe()


class TrainerSettings(Strict):
    """`trainer`."""

    accelerator: Literal["cpu", "gpu", "auto"]
    devices: PositiveInt | Literal["auto"]
    strategy: Literal["auto", "ddp_spawn"]
    threads: PositiveInt | None


class TrackingSettings(Strict):
    """`tracking`."""

    uri: str
    every_n_steps: PositiveInt


class MeasureSettings(Strict):
    """`measure`."""

    latency_warmup: PositiveInt
    latency_runs: PositiveInt
    throughput_batch: PositiveInt
    threads: PositiveInt | None


class NetworkSettings(Strict):
    """One network of the config and how it is come by."""

    node: Node
    recipe: RecipeSettings
    weights: str | None = None
    reuse: bool = True
    seed: int
    layers: list[str] | None = None


class TermSettings(Strict):
    """`loss.terms.NAME`: the loss itself, and what the objective does with it.

    node: what builds the loss. standardize: z-score the logits of both networks first. schedules: what moves the weight
    or another number of the loss. student_layers, teacher_layers: what it compares, if not what all losses do.
    """

    node: Node
    weight: float
    standardize: bool = False
    schedules: dict[str, Node] = {}
    student_layers: list[str] | None = None
    teacher_layers: list[str] | None = None


class LossSettings(Strict):
    """`loss`."""

    terms: dict[str, TermSettings]
    hard_weight: float
    hard_schedule: Node | None = None


class Settings(Strict):
    """The config of one job."""

    seed: int
    study: str
    dataset: Node
    teacher: NetworkSettings | None
    student: NetworkSettings
    baseline: BaselineSettings | None
    loss: LossSettings
    trainer: TrainerSettings
    tracking: TrackingSettings
    measure: MeasureSettings

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "Settings":
        """Read a composed config, all interpolations resolved.

        Raises:
            UserError: A key that is unknown, or a value that cannot be used; the message names both.
        """
        for key in config:
            if key not in cls.model_fields:
                raise UserError(f"{key}={config[key]}: no such key; {choices(key, list(cls.model_fields))}")
        _check_seed(config)
        loss = _loss(config["loss"])
        if config["student"].get("_target_") is None:
            raise UserError("student=none: expected a network to train, such as student=mlp")
        has_teacher = config["teacher"].get("_target_") is not None
        return cls(
            seed=config["seed"],
            study=str(config["study"]),
            dataset=config["dataset"],
            teacher=_network("teacher", config["teacher"]) if has_teacher else None,
            student=_network("student", {**config["student"], "seed": config["seed"]}),
            baseline=_baseline(config["baseline"]) if loss.terms else None,
            loss=loss,
            trainer=_parsed("trainer", config["trainer"], TrainerSettings),
            tracking=_parsed("tracking", config["tracking"], TrackingSettings),
            measure=_parsed("measure", config["measure"], MeasureSettings),
        )


T = TypeVar("T", bound=BaseModel)


def _parsed(key: str, node: object, kind: type[T]) -> T:
    try:
        return kind.model_validate(node)
    except ValidationError as error:
        first = error.errors()[0]
        path, known = _path(kind, [str(p) for p in first["loc"]])
        value = first["input"]
        if first["type"] == "extra_forbidden":
            name = str(first["loc"][-1])
            raise UserError(f"{'.'.join([key, *path, name])}={value}: no such key; {choices(name, known)}") from error
        raise UserError(f"{'.'.join([key, *path])}={value}: {complaint(error)}") from error


def _path(kind: type[BaseModel], location: list[str]) -> tuple[list[str], list[str]]:
    """The config keys in pydantic's location of an error (it also names branches of unions), and their siblings."""
    path: list[str] = []
    for part in location:
        if part not in kind.model_fields:
            break
        path.append(part)
        inner = kind.model_fields[part].annotation
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            break
        kind = inner
    return path, list(kind.model_fields)


def _check_seed(config: Mapping[str, Any]) -> None:
    for key, seed in (("seed", config["seed"]), ("teacher.seed", config["teacher"].get("seed", 0))):
        if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**32:
            raise UserError(f"{key}={seed}: expected a whole number from 0 to 4294967295")


def _network(key: str, node: Node) -> NetworkSettings:
    recipe = _parsed(f"{key}.recipe", node["recipe"], RecipeSettings)
    if (recipe.epochs is None) == (recipe.steps is None):
        raise UserError(
            f"{key}.recipe.epochs={recipe.epochs} and {key}.recipe.steps={recipe.steps}: "
            "expected one of the two, the other null"
        )
    own = {k: v for k, v in node.items() if k not in RESERVED}
    kept: dict[str, Any] = {k: node[k] for k in RESERVED if k in node and k != "recipe"}
    everything: dict[str, Any] = {"node": own, "recipe": recipe, **kept}
    return _parsed(key, everything, NetworkSettings)


def _baseline(node: object) -> BaselineSettings | None:
    if node is None or node is False:
        return None
    if node is True:
        return BaselineSettings()
    if not isinstance(node, dict):
        raise UserError(f"baseline={node}: expected true or false")
    baseline = _parsed("baseline", node, BaselineSettings)
    if baseline.recipe.epochs is not None and baseline.recipe.steps is not None:
        raise UserError(
            f"baseline.recipe.epochs={baseline.recipe.epochs} and baseline.recipe.steps={baseline.recipe.steps}: "
            "expected at most one of the two, the other null"
        )
    return baseline


def _weight(key: str, value: object) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or value < 0:  # type: ignore[arg-type, operator]
        raise UserError(f"{key}={value}: expected a finite number of 0 or more")
    return float(value)  # type: ignore[arg-type]


def _mapping(key: str, node: object) -> Node:
    if not isinstance(node, dict):
        raise UserError(f"{key}={'null' if node is None else node}: expected the settings of a loss; choose loss=NAME")
    return node


def _loss(node: Node) -> LossSettings:
    terms = {}
    for name, term in _mapping("loss.terms", node["terms"]).items():
        terms[name] = dict(_mapping(f"loss.terms.{name}", term))
    schedules = dict(_mapping("loss.schedules", node.get("schedules") or {}))
    hard_schedule = schedules.pop("hard_weight", None)
    for key, value in node.items():
        if key not in {"terms", "hard_weight", "schedules"}:
            _to_the_term(terms, key, value)
    if schedules:
        _to_the_term(terms, "schedules", schedules)
    for name, term in terms.items():
        if term.get("_target_") is None:
            raise UserError(
                f"loss.terms.{name}: no such loss is chosen; write loss={name}, or loss=[...,{name}] for several"
            )
    published = [_weight(f"loss.terms.{name}.hard_weight", t.get("hard_weight", 1.0)) for name, t in terms.items()]
    hard = node["hard_weight"]
    hard_weight = max(published, default=1.0) if hard is None else _weight("loss.hard_weight", hard)
    parsed = {name: _term(name, term) for name, term in terms.items()}
    if hard_weight == 0 and not any(term.weight for term in parsed.values()):
        shown = ", ".join([f"loss.terms.{n}.weight=0" for n in parsed] + ["loss.hard_weight=0"])
        raise UserError(f"{shown}: all weights are zero; expected at least one above 0")
    return LossSettings(terms=parsed, hard_weight=hard_weight, hard_schedule=hard_schedule)


def _term(name: str, term: Node) -> TermSettings:
    key = f"loss.terms.{name}"
    own = {k: v for k, v in term.items() if k not in OF_TERM}
    said: dict[str, Any] = {k: term[k] for k in ("standardize", "student_layers", "teacher_layers") if k in term}
    schedules = {k: v for k, v in _mapping(f"{key}.schedules", term.get("schedules") or {}).items() if v is not None}
    weight = _weight(f"{key}.weight", term.get("weight", 1.0))
    return _parsed(key, {"node": own, "weight": weight, "schedules": schedules, **said}, TermSettings)


def _to_the_term(terms: dict[str, Node], key: str, value: object) -> None:
    """`loss.temperature=2` is short for `loss.terms.kd.temperature=2` where kd is the only loss."""
    if len(terms) != 1:
        which = (
            "loss=none has no settings"
            if not terms
            else f"say whose, such as loss.terms.{next(iter(terms))}.{key}={value}"
        )
        raise UserError(f"loss.{key}={value}: {which}")
    name, term = next(iter(terms.items()))
    if key not in term and key not in OF_TERM:
        known = [k for k in term if k != "_target_"]
        raise UserError(f"loss.{key}={value}: loss={name} has no such key; {choices(key, known)}")
    if key == "schedules" and isinstance(value, dict):
        value = {**_mapping(f"loss.terms.{name}.schedules", term.get(key) or {}), **value}
    term[key] = value
