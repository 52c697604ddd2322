"""mdistiller (Zhao 2022) and what is built on it: its YAML, whose weights have names of their own.

Only DKD has an ALPHA there, the weight of the part of the target class (TCKD), as in kd-lab. What a file does not say
has the default of its `engine/cfg.py`.
"""

from typing import Any, NamedTuple

from kd_lab.errors import UserError, choices
from kd_lab.recipe_import.translation import Translation
from kd_lab.recipe_import.yaml_file import Value

TYPE = "DISTILLER.TYPE"
WARMUP = "warmup"
"""In the place of a setting: epochs over which the loss's weight rises."""
HARD = "hard_weight"


class Method(NamedTuple):
    """Our loss, and by their key, below the method's own, our setting and their default."""

    loss: str
    keys: dict[str, tuple[str, Any]]


def _of_features(loss: str, weight: float, **keys: tuple[str, Any]) -> Method:
    """The methods whose weights stand below LOSS."""
    return Method(loss, {"LOSS.CE_WEIGHT": (HARD, 1.0), "LOSS.FEAT_WEIGHT": ("weight", weight), **keys})


METHODS = {
    "KD": Method(
        "kd",
        {
            "TEMPERATURE": ("temperature", 4.0),
            "LOSS.KD_WEIGHT": ("weight", 0.9),
            "LOSS.CE_WEIGHT": (HARD, 0.1),
        },
    ),
    "DKD": Method(
        "dkd",
        {
            "T": ("temperature", 4.0),
            "ALPHA": ("alpha", 1.0),
            "BETA": ("beta", 8.0),
            "CE_WEIGHT": (HARD, 1.0),
            "WARMUP": (WARMUP, 20),
        },
    ),
    "REVIEWKD": Method(
        "review",
        {"REVIEWKD_WEIGHT": ("weight", 1.0), "CE_WEIGHT": (HARD, 1.0), "WARMUP_EPOCHS": (WARMUP, 20)},
    ),
    "CAT_KD": Method(
        "catkd",
        {
            "LOSS.CAT_loss_weight": ("weight", 15.0),
            "LOSS.CAM_RESOLUTION": ("resolution", 2),
            "LOSS.CE_WEIGHT": (HARD, 1.0),
            "IF_NORMALIZE": ("normalize", True),
        },
    ),
    "AT": _of_features("at", 1000.0),
    "SP": _of_features("sp", 3000.0),
    "NST": _of_features("nst", 50.0),
    "PKT": _of_features("pkt", 30000.0),
    "OFD": _of_features("ofd", 0.001),
    "FITNET": _of_features("fitnet", 100.0),
    "VID": _of_features("vid", 1.0, INIT_PRED_VAR=("initial_variance", 5.0)),
    "KDSVD": _of_features("kdsvd", 1.0, K=("k", 1)),
    "RKD": _of_features("rkd", 1.0, DISTANCE_WEIGHT=("distance_weight", 25.0), ANGLE_WEIGHT=("angle_weight", 50.0)),
    "CRD": _of_features(
        "crd",
        0.8,
        **{
            "FEAT.DIM": ("dim", 128),
            "NCE.K": ("negatives", 16384),
            "NCE.MOMENTUM": ("momentum", 0.5),
            "NCE.TEMPERATURE": ("temperature", 0.07),
        },
    ),
}
SOLVER = {
    "SOLVER.TRAINER": "base",
    "SOLVER.TYPE": "SGD",
    "SOLVER.BATCH_SIZE": 64,
    "SOLVER.EPOCHS": 240,
    "SOLVER.LR": 0.05,
    "SOLVER.LR_DECAY_STAGES": [150, 180, 210],
    "SOLVER.LR_DECAY_RATE": 0.1,
    "SOLVER.WEIGHT_DECAY": 0.0001,
    "SOLVER.MOMENTUM": 0.9,
    "DATASET.TYPE": "cifar100",
    "DISTILLER.TEACHER": "ResNet50",
    "DISTILLER.STUDENT": "resnet32",
}
HARMLESS = ("EXPERIMENT.", "LOG.", "DATASET.NUM_WORKERS", "DATASET.TEST.", "if_test", "device")
BY_ITSELF = {
    "SHAPES",
    "OUT_SHAPES",
    "IN_CHANNELS",
    "OUT_CHANNELS",
    "FEAT.STUDENT_DIM",
    "FEAT.TEACHER_DIM",
    "INPUT_SIZE",
}
"""Sizes that kd-lab sees on the networks themselves."""


def translate(values: dict[str, Value], source: str) -> Translation:
    """One file.

    Raises:
        UserError: a method that there is none of here, or a value of the wrong kind.
    """
    made = Translation("mdistiller")
    solver: dict[str, Any] = {key: values[key].value if key in values else default for key, default in SOLVER.items()}
    kind = str(values[TYPE].value)
    if kind not in (*METHODS, "NONE"):
        raise UserError(f"{source}: {TYPE}: {kind}: no such method here; {choices(kind, [*METHODS, 'NONE'])}")
    large = _data(solver["DATASET.TYPE"], made, values)
    for role in ("TEACHER", "STUDENT"):
        key = f"DISTILLER.{role}"
        if role == "TEACHER" and kind == "NONE":
            made.overrides["teacher"] = "none"
            continue
        made.network(role.lower(), str(solver[key]), large_images=large, where=_where(key, values))
    try:
        _training(solver, made, values)
        used = _losses(kind, float(solver["SOLVER.EPOCHS"]), values, made)
    except (TypeError, ValueError) as error:
        raise UserError(f"{source}: {error}; expected numbers in SOLVER and {kind}") from error
    for key in values:
        if key.startswith(HARMLESS):
            made.harmless.append(key)
        elif key not in used and key not in SOLVER and key != TYPE:
            _left(key, kind, values, made)
    return made


def _data(kind: str, made: Translation, values: dict[str, Value]) -> bool:
    """The dataset; whether its images are large."""
    if kind == "imagenet":
        made.overrides["dataset"] = "image_folder"
        made.left.append(f"{_where('DATASET.TYPE', values)}: say where ImageNet lies, dataset.path=DIR")
        return True
    if kind != "cifar100":
        made.left.append(f"{_where('DATASET.TYPE', values)}: choose dataset=...")
        return False
    made.overrides |= {"dataset": "cifar100", "dataset.validation": "0"}
    return False


def _training(solver: dict[str, Any], made: Translation, values: dict[str, Value]) -> None:
    for key, known in (("SOLVER.TYPE", "SGD"), ("SOLVER.TRAINER", "base")):
        if solver[key] != known:
            made.left.append(f"{_where(key, values)}: kd-lab has {known} alone of these")
    made.overrides["student/recipe"] = "crd"
    made.sgd(
        lr=float(solver["SOLVER.LR"]),
        momentum=float(solver["SOLVER.MOMENTUM"]),
        weight_decay=float(solver["SOLVER.WEIGHT_DECAY"]),
    )
    made.length(
        epochs=int(solver["SOLVER.EPOCHS"]),
        batch_size=int(solver["SOLVER.BATCH_SIZE"]),
        milestones=[float(one) for one in solver["SOLVER.LR_DECAY_STAGES"]],
        factor=float(solver["SOLVER.LR_DECAY_RATE"]),
    )


def _losses(kind: str, epochs: float, values: dict[str, Value], made: Translation) -> set[str]:
    """The loss with its settings; the keys that were read."""
    if kind == "NONE":
        made.overrides["loss"] = "none"
        return set()
    method = METHODS[kind]
    own: dict[str, object] = {}
    hard = 1.0
    for key, (ours, default) in method.keys.items():
        value = values[f"{kind}.{key}"].value if f"{kind}.{key}" in values else default
        if ours == HARD:
            hard = float(value)
        elif ours == WARMUP:
            own["schedules.weight.warmup_steps"] = float(value) / epochs
        else:
            own[ours] = float(value) if isinstance(default, float) else type(default)(value)
    made.losses({method.loss: own}, hard)
    return {f"{kind}.{key}" for key in method.keys}


def _left(key: str, kind: str, values: dict[str, Value], made: Translation) -> None:
    """What of the file has no counterpart."""
    where = _where(key, values)
    section, _, name = key.partition(".")
    if name in BY_ITSELF or (section in METHODS and section != kind):
        made.harmless.append(key)
    elif name == "HINT_LAYER":
        made.left.append(f"{where}: name the layers by student.layers=[...] teacher.layers=[...]")
    else:
        made.left.append(f"{where}: kd-lab's {METHODS[kind].loss if kind in METHODS else 'config'} has no such setting")


def _where(key: str, values: dict[str, Value]) -> str:
    """`line 8, SOLVER.TYPE: Adam`."""
    found = values.get(key)
    return (
        f"{key}: {SOLVER.get(key)} (mdistiller's default)"
        if found is None
        else f"line {found.line}, {key}: {found.value}"
    )
