"""torchdistill (Matsubara 2021): its YAML, in the older form (type, params, factor) and the newer (key, kwargs, weight)

Its KDLoss is `alpha * CE + (1 - alpha) * T^2 KL`: there alpha is the weight of the hard labels. With alpha = 0 its code
leaves out the T^2, and here it stays.
"""

from collections.abc import Mapping

from kd_lab.errors import UserError
from kd_lab.recipe_import.translation import Translation
from kd_lab.recipe_import.yaml_file import Value

NAME = ("key", "type", "name")
SETTINGS = ("kwargs", "params")
WEIGHT = ("weight", "factor")
LOSSES = {
    "ATLoss": "at",
    "CCKDLoss": "cc",
    "CRDLoss": "crd",
    "DISTLoss": "dist",
    "FSPLoss": "fsp",
    "FTLoss": "ft",
    "HierarchicalContextLoss": "review",
    "PKTLoss": "pkt",
    "RKDLoss": "rkd",
    "SPKDLoss": "sp",
    "SRDLoss": "srd",
    "VariationalDistributorLoss": "vid",
}
"""Beside KDLoss and CrossEntropyLoss, by its class; only the weight is translated."""
IMAGENET = ("ilsvrc2012", "imagenet")
HARMLESS = (
    "log_freq",
    "num_workers",
    "wrapper",
    "apex",
    "find_unused_parameters",
    "val_data_loader",
    "experiment",
    "cache_output",
)
READ = ("num_epochs", "train_data_loader", "optimizer", "scheduler", "criterion")


def translate(values: Mapping[str, Value], source: str) -> Translation:
    """One file.

    Raises:
        UserError: it has several stages, or no numbers where they are needed.
    """
    if any(key.startswith("train.stage") for key in values):
        raise UserError(f"{source}: trains in several stages; expected one, and `kd-lab` with a loss that has its own")
    made = Translation("torchdistill")
    large = _data(values, made)
    for role in ("teacher", "student"):
        _network(role, values, made, large_images=large)
    try:
        _training(values, made, source)
        _criterion(values, made)
    except (TypeError, ValueError) as error:
        raise UserError(f"{source}: {error}; expected numbers in train") from error
    _left(values, made)
    return made


def _data(values: Mapping[str, Value], made: Translation) -> bool:
    """The dataset by its first name; whether its images are large."""
    name = next((key.split(".")[1] for key in values if key.startswith("datasets.") and key.count(".") > 1), "")
    if name in IMAGENET:
        made.overrides["dataset"] = "image_folder"
        made.left.append(f"datasets.{name}: say where it lies, dataset.path=DIR")
        return True
    if name in ("cifar10", "cifar100"):
        made.overrides |= {"dataset": name, "dataset.validation": "0"}
    else:
        made.left.append(f"datasets.{name or ' is not there'}: choose dataset=...")
    return False


def _network(role: str, values: Mapping[str, Value], made: Translation, *, large_images: bool) -> None:
    place = f"models.{role}_model"
    found = _first(values, place, NAME)
    if found is None:
        made.left.append(f"{place}: is not there; choose {role}=...")
        return
    own = _below(values, place, SETTINGS)
    name = str(found.value)
    if name == "wide_resnet" and {"depth", "k"} <= own.keys():
        name = f"wide_resnet_{own['depth'].value}_{own['k'].value}"
    made.network(role, name, large_images=large_images, where=f"line {found.line}, {place}: {name}")
    weights = _first(values, place, ("src_ckpt", "ckpt"))
    if role == "teacher" and weights is not None and weights.value:
        made.overrides["teacher.weights"] = str(weights.value)


def _training(values: Mapping[str, Value], made: Translation, source: str) -> None:
    batch = _first(values, "train.train_data_loader", ("batch_size", *(f"{one}.batch_size" for one in SETTINGS)))
    epochs = values.get("train.num_epochs")
    if batch is None or epochs is None:
        raise UserError(f"{source}: expected train.num_epochs and train.train_data_loader.batch_size")
    made.overrides["student/recipe"] = "crd"
    _optimizer(values, made)
    schedule, own = _first(values, "train.scheduler", NAME), _below(values, "train.scheduler", SETTINGS)
    stages: list[float] = []
    if schedule is not None and schedule.value == "MultiStepLR":
        stages = [float(one) for one in own["milestones"].value]
    elif schedule is not None:
        made.left.append(f"line {schedule.line}, train.scheduler: {schedule.value}: choose student/recipe/schedule=...")
    gamma = float(own["gamma"].value) if "gamma" in own else 0.1
    made.length(epochs=int(epochs.value), batch_size=int(batch.value), milestones=stages, factor=gamma)


def _optimizer(values: Mapping[str, Value], made: Translation) -> None:
    kind, own = _first(values, "train.optimizer", NAME), _below(values, "train.optimizer", SETTINGS)
    if kind is None or kind.value != "SGD":
        where = "train.optimizer: is not there" if kind is None else f"line {kind.line}, train.optimizer: {kind.value}"
        made.left.append(f"{where}: choose student/recipe/optimizer=...")
        return
    numbers = {name: float(own[name].value) if name in own else 0.0 for name in ("lr", "momentum", "weight_decay")}
    made.sgd(**numbers)
    if "nesterov" in own:
        made.say("student.recipe.optimizer.nesterov", bool(own["nesterov"].value))


def _criterion(values: Mapping[str, Value], made: Translation) -> None:
    """Every term of the weighted sum; a single loss is one of weight 1."""
    terms: dict[str, dict[str, object]] = {}
    hard = 0.0
    for place, criterion in _terms(values).items():
        kind = _first(values, criterion, NAME)
        if kind is None:
            continue
        own = _below(values, criterion, SETTINGS)
        said = _first(values, place, WEIGHT)
        weight = 1.0 if said is None or place == criterion else float(said.value)
        if kind.value == "CrossEntropyLoss":
            hard += weight
        elif kind.value == "KDLoss":
            alpha = float(own["alpha"].value) if "alpha" in own else 0.0
            hard += weight * alpha
            temperature = float(own["temperature"].value) if "temperature" in own else 1.0
            terms["kd"] = {"temperature": temperature, "weight": weight * (1 - alpha)}
            _say_kd(own, alpha, temperature, made)
        elif kind.value in LOSSES:
            terms[LOSSES[kind.value]] = {"weight": weight}
            made.left.append(f"line {kind.line}, {kind.value}: its weight is translated, its other settings are not")
        else:
            made.left.append(f"line {kind.line}, {kind.value}: no such loss here; see kd-lab list loss")
    made.losses(terms, round(hard, 12))


def _say_kd(own: Mapping[str, Value], alpha: float, temperature: float, made: Translation) -> None:
    if "reduction" in own and own["reduction"].value != "batchmean":
        reduction = own["reduction"]
        made.left.append(f"line {reduction.line}, reduction: {reduction.value}: kd-lab sums over classes (batchmean)")
    if alpha == 0 and temperature != 1:
        made.left.append(
            f"alpha 0: torchdistill leaves out T^2 then; kd-lab's weight for the same is {temperature**-2:g}"
        )


def _terms(values: Mapping[str, Value]) -> dict[str, str]:
    """By the place of a term, which has its weight, that of its criterion."""
    found = {}
    for key in values:
        parts = key.split(".")
        if parts[:2] != ["train", "criterion"]:
            continue
        for i, part in enumerate(parts):
            if part == "criterion" and i > 1:
                found[".".join(parts[:i])] = ".".join(parts[: i + 1])
    return found or {"train.criterion": "train.criterion"}


def _left(values: Mapping[str, Value], made: Translation) -> None:
    """What of `train` was not read."""
    for key, found in values.items():
        parts = key.split(".")
        if parts[0] != "train" or parts[1] in READ or found.value in (None, [], False):
            continue
        if set(parts) & set(HARMLESS) or parts[-1] == "requires_grad":
            made.harmless.append(key)
        elif "forward_hook" in parts:
            role = parts[1]
            made.left.append(f"line {found.line}, {key}: {found.value}: name the layers by {role}.layers=[...]")
        else:
            made.left.append(f"line {found.line}, {key}: {found.value}: not translated")


def _first(values: Mapping[str, Value], place: str, names: tuple[str, ...]) -> Value | None:
    return next((values[f"{place}.{name}"] for name in names if f"{place}.{name}" in values), None)


def _below(values: Mapping[str, Value], place: str, names: tuple[str, ...]) -> dict[str, Value]:
    starts = [f"{place}.{name}." for name in names]
    return {key.removeprefix(start): one for start in starts for key, one in values.items() if key.startswith(start)}


def is_one(values: Mapping[str, Value]) -> bool:
    """Whether a file with these keys is torchdistill's."""
    return any(key.startswith("models.") for key in values) and any(key.startswith("train.") for key in values)
