"""The whole config, checked: types, ranges and names of all that needs neither data nor a network to be judged."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, Field

from kd_lab.errors import UserError, choices
from kd_lab.job.loss_settings import LossSettings, loss_settings
from kd_lab.job.search_settings import SearchSettings
from kd_lab.job.strict import Node, Strict, parsed
from kd_lab.teachers.form import Form

PositiveInt = Annotated[int, Field(gt=0)]
Smoothing = Annotated[float, Field(ge=0, lt=1)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
ClassWeights = Literal["balanced"] | list[Annotated[float, Field(ge=0, allow_inf_nan=False)]] | None
Decay = Annotated[float, Field(ge=0, lt=1)]
PrecisionName = Annotated[Literal["32", "bf16-mixed", "16-mixed"], BeforeValidator(str)]


class RecipeSettings(Strict):
    """`teacher.recipe` and `student.recipe`."""

    epochs: PositiveInt | None
    steps: PositiveInt | None
    batch_size: PositiveInt
    label_smoothing: Smoothing
    class_weights: ClassWeights = None
    clip_norm: PositiveFloat | None
    precision: PrecisionName
    augment: bool
    draws: PositiveInt | None = None
    channels_last: bool = False
    compile: bool = False
    accumulate: PositiveInt = 1
    ema: Decay | None = None
    no_decay: bool = False
    early_stopping: PositiveInt | None = None
    by_length: bool = False
    mix: Node | None = None
    optimizer: Node
    schedule: Node

    @property
    def step_size(self) -> int:
        """Samples per optimizer step."""
        return self.batch_size * self.accumulate

    @property
    def mixes(self) -> bool:
        """Whether samples are mixed with one another."""
        return self.mix is not None and self.mix.get("_target_") is not None

    def steps_per_epoch(self, num_rows: int) -> int:
        """Optimizer steps of an epoch of so many rows, the last, incomplete one among them."""
        return -(-num_rows // self.step_size)

    def steps_over(self, num_rows: int) -> int:
        """Optimizer steps of a training on so many rows."""
        return self.steps or (self.epochs or 0) * self.steps_per_epoch(num_rows)


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
    class_weights: ClassWeights = None
    clip_norm: PositiveFloat | None = None
    precision: Annotated[Literal["32", "bf16-mixed", "16-mixed"] | None, BeforeValidator(lambda v: v and str(v))] = None
    augment: bool | None = None
    draws: PositiveInt | None = None
    channels_last: bool | None = None
    compile: bool | None = None
    accumulate: PositiveInt | None = None
    ema: Decay | None = None
    no_decay: bool | None = None
    early_stopping: PositiveInt | None = None
    by_length: bool | None = None
    mix: Node | None = None
    optimizer: BaselineOptimizer = BaselineOptimizer()


class BaselineSettings(Strict):
    """`baseline`; `baseline=false` leaves it out."""

    reuse: bool = True
    recipe: BaselineRecipe = BaselineRecipe()


class TrainerSettings(Strict):
    """`trainer`."""

    accelerator: Literal["cpu", "gpu", "auto"]
    devices: PositiveInt | Literal["auto"]
    strategy: Literal["auto", "ddp_spawn", "fsdp"]
    threads: PositiveInt | None
    workers: Annotated[int, Field(ge=0)] = 2
    sync_batchnorm: bool = False


class TrackingSettings(Strict):
    """`tracking`."""

    uri: str
    every_n_steps: PositiveInt
    offline: Literal["refuse", "fallback"]


class MeasureSettings(Strict):
    """`measure`."""

    latency_warmup: PositiveInt
    latency_runs: PositiveInt
    throughput_batch: PositiveInt
    predict_batch: PositiveInt = 1024
    threads: PositiveInt | None
    figures: bool | None = None
    gradients: bool = False
    int8: bool = False


class CheckpointSettings(Strict):
    """`checkpoint`."""

    keep: Literal["last", "both"] = "last"
    every_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = 300.0


class SweepSettings(Strict):
    """`sweep`: how the jobs of a sweep are run; no job depends on it."""

    resume: bool = True
    jobs: PositiveInt = 1
    cluster: Literal["slurm", "local"] | None = None
    resources: dict[str, str | int | float | bool] = Field(default_factory=dict)
    search: SearchSettings | None = None


class NetworkSettings(Strict):
    """One network of the config and how it is come by."""

    node: Node
    recipe: RecipeSettings
    weights: str | None = None
    reuse: bool = True
    seed: int
    layers: list[str] | None = None


class TeacherSettings(NetworkSettings):
    """The teacher, and what of its answers is kept."""

    cache: Literal["auto", "memory", "disk", "off"] = "auto"
    cache_dtype: Literal["float32", "float16"] = "float32"
    cache_top_k: PositiveInt | None = None
    cache_recovery: Literal["spread", "renormalise"] = "spread"
    cache_limit_gb: PositiveFloat = 4.0

    @property
    def form(self) -> Form:
        """How its answers are kept."""
        kept = Form(self.cache_dtype, self.cache_top_k, self.cache_recovery)
        return Form() if self.cache == "off" else kept


class StudentSettings(NetworkSettings):
    """The student, and what it sees of the data.

    without_classes: true classes of which it sees no sample, nor does its baseline. unlabelled: how many points without
    a label it is taught on; None is all. reuse: whether a finished run of the whole job is its result.
    """

    reuse: bool = False
    without_classes: list[int] = Field(default_factory=list)
    unlabelled: Annotated[int, Field(ge=0)] | None = None


N = TypeVar("N", bound=NetworkSettings)


class ExperimentSettings(Strict):
    """The experiment that was chosen by name, and what of it is otherwise in this job, as it is typed."""

    name: str
    changed: list[str] = Field(default_factory=list)


class Settings(Strict):
    """The config of one job; `tuned` and `published` are settings that nobody typed, by key."""

    seed: int
    study: str
    dataset: Node
    teacher: TeacherSettings | None
    student: StudentSettings
    baseline: BaselineSettings | None
    loss: LossSettings
    trainer: TrainerSettings
    strategy: Node | None = None
    callbacks: dict[str, Node] = Field(default_factory=dict)
    tracking: TrackingSettings
    measure: MeasureSettings
    checkpoint: CheckpointSettings = CheckpointSettings()
    sweep: SweepSettings
    tuned: dict[str, Any] = Field(default_factory=dict)
    published: dict[str, Any] = Field(default_factory=dict)
    experiment: ExperimentSettings | None = None

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
        loss = loss_settings(config["loss"])
        if config["student"].get("_target_") is None:
            raise UserError("student=none: expected a network to train, such as student=mlp")
        has_teacher = config["teacher"].get("_target_") is not None
        strategy = config.get("strategy") or {}
        chosen = strategy if strategy.get("_target_") is not None else None
        return cls(
            seed=config["seed"],
            study=str(config["study"]),
            dataset=config["dataset"],
            teacher=_network("teacher", config["teacher"], TeacherSettings) if has_teacher else None,
            student=_network("student", {**config["student"], "seed": config["seed"]}, StudentSettings),
            baseline=_baseline(config["baseline"]) if loss.terms or chosen else None,
            loss=loss,
            strategy=chosen,
            trainer=parsed("trainer", config["trainer"], TrainerSettings),
            callbacks=_callbacks(config.get("callbacks")),
            tracking=parsed("tracking", config["tracking"], TrackingSettings),
            measure=parsed("measure", config["measure"], MeasureSettings),
            checkpoint=parsed("checkpoint", config.get("checkpoint") or {}, CheckpointSettings),
            sweep=parsed("sweep", config["sweep"], SweepSettings),
            tuned=config.get("tuned") or {},
            published=config.get("published") or {},
            experiment=config.get("experiment"),
        )


def _check_seed(config: Mapping[str, Any]) -> None:
    for key, seed in (("seed", config["seed"]), ("teacher.seed", config["teacher"].get("seed", 0))):
        if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**32:
            raise UserError(f"{key}={seed}: expected a whole number from 0 to 4294967295")


def _network(key: str, node: Node, kind: type[N]) -> N:
    recipe = parsed(f"{key}.recipe", node["recipe"], RecipeSettings)
    if (recipe.epochs is None) == (recipe.steps is None):
        raise UserError(
            f"{key}.recipe.epochs={recipe.epochs} and {key}.recipe.steps={recipe.steps}: "
            "expected one of the two, the other null"
        )
    reserved = kind.model_fields.keys() - {"node"}  # the other keys are arguments of the network
    own = {k: v for k, v in node.items() if k not in reserved}
    kept: dict[str, Any] = {k: node[k] for k in reserved if k in node and k != "recipe"}
    everything: dict[str, Any] = {"node": own, "recipe": recipe, **kept}
    return parsed(key, everything, kind)


def _callbacks(node: object) -> dict[str, Node]:
    """By any names: nodes that build a Lightning callback each."""
    for name, one in node.items() if isinstance(node, dict) else ():
        if not isinstance(one, dict) or "_target_" not in one:
            raise UserError(f"callbacks.{name}={one}: expected callbacks.{name}._target_=my_module.MyCallback")
    return dict(node) if isinstance(node, dict) else {}


def _baseline(node: object) -> BaselineSettings | None:
    if node is None or node is False:
        return None
    if node is True:
        return BaselineSettings()
    if not isinstance(node, dict):
        raise UserError(f"baseline={node}: expected true or false")
    baseline = parsed("baseline", node, BaselineSettings)
    if baseline.recipe.epochs is not None and baseline.recipe.steps is not None:
        raise UserError(
            f"baseline.recipe.epochs={baseline.recipe.epochs} and baseline.recipe.steps={baseline.recipe.steps}: "
            "expected at most one of the two, the other null"
        )
    return baseline
