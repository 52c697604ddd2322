"""RepDistiller (Tian 2020): the flags of its train_student.py, as its scripts have them.

Its objective is `gamma * CE + alpha * T^2 KL + beta * method`: there alpha is the weight of KD.
"""

import re
import shlex
from collections.abc import Iterator

from kd_lab.errors import UserError, choices
from kd_lab.recipe_import.translation import Translation

SCRIPT = "train_student.py"
METHODS = {
    "kd": "kd",
    "hint": "fitnet",
    "attention": "at",
    "similarity": "sp",
    "correlation": "cc",
    "vid": "vid",
    "crd": "crd",
    "kdsvd": "kdsvd",
    "fsp": "fsp",
    "rkd": "rkd",
    "pkt": "pkt",
    "abound": "ab",
    "factor": "ft",
    "nst": "nst",
}
"""By what --distill takes, our losses."""
WITH_FIRST_STAGE = ("ab", "ft", "fsp")
SHORT = {"-r": "--gamma", "-a": "--alpha", "-b": "--beta"}
DEFAULTS = {
    "--model_s": "resnet8",
    "--distill": "kd",
    "--epochs": "240",
    "--init_epochs": "30",
    "--batch_size": "64",
    "--learning_rate": "0.05",
    "--lr_decay_epochs": "150,180,210",
    "--lr_decay_rate": "0.1",
    "--weight_decay": "5e-4",
    "--momentum": "0.9",
    "--dataset": "cifar100",
    "--gamma": "1",
    "--alpha": "0",
    "--beta": "0",
    "--kd_T": "4",
    "--feat_dim": "128",
    "--mode": "exact",
    "--nce_k": "16384",
    "--nce_t": "0.07",
    "--nce_m": "0.5",
    "--trial": "1",
}
HARMLESS = ("--print_freq", "--tb_freq", "--save_freq", "--num_workers")
SLOW = ("mobile_half", "mobile_full", "ShuffleV1", "ShuffleV2")
"""Students that are trained at 0.01, whatever --learning_rate says."""
SLOW_LR = 0.01


def commands(text: str) -> list[list[str]]:
    """The words behind train_student.py, of each line that starts it."""
    lines = re.sub(r"\\\r?\n", " ", text).splitlines()
    found = []
    for line in lines:
        try:
            words = shlex.split(line, comments=True)
        except ValueError:  # quotes of a script that is no command of these
            continue
        starts = [i for i, word in enumerate(words) if word.rpartition("/")[2] == SCRIPT]
        if starts:
            found.append(words[starts[0] + 1 :])
    return found


def translate(words: list[str]) -> Translation:
    """One command.

    Raises:
        UserError: a flag without a value, or a value that cannot be read.
    """
    made = Translation("RepDistiller")
    given = dict(_flags(words, made))
    flags = DEFAULTS | given
    if flags["--distill"] not in METHODS:
        raise UserError(f"--distill {flags['--distill']}: no such method; {choices(flags['--distill'], list(METHODS))}")
    if flags["--dataset"] != "cifar100":
        made.left.append(
            f"--dataset {flags['--dataset']}: RepDistiller itself knows cifar100 alone; choose dataset=..."
        )
    made.overrides |= {"dataset": "cifar100", "dataset.validation": "0"}
    _teacher(flags.get("--path_t"), made)
    made.network("student", flags["--model_s"], large_images=False, where=f"--model_s {flags['--model_s']}")
    _training(flags, given, made)
    _losses(flags, given, made)
    made.overrides["seed"] = flags["--trial"] if flags["--trial"].isdigit() else "1"
    if "--trial" in given:
        made.left.append(
            f"--trial {given['--trial']}: there the number of a run without a seed; here seed={made.overrides['seed']}"
        )
    return made


def _flags(words: list[str], made: Translation) -> Iterator[tuple[str, str]]:
    rest = list(words)
    while rest:
        word, equals, value = rest.pop(0).partition("=")
        if not word.startswith("-"):
            made.left.append(f"{word}: is no flag of {SCRIPT}")
            continue
        flag = SHORT.get(word, word)
        if not equals:
            if not rest or (rest[0].startswith("--") or rest[0] in SHORT):
                raise UserError(f"{word}: expected a value behind it, as RepDistiller's {SCRIPT} does")
            value = rest.pop(0)
        if "$" in value:
            made.left.append(f"{word} {value}: a variable of the shell; write the value into the file")
        elif flag in HARMLESS:
            made.harmless.append(flag)
        elif flag in DEFAULTS or flag in ("--path_t", "--hint_layer"):
            yield flag, value
        else:
            made.left.append(f"{word} {value}: {SCRIPT} has no such flag")


def _teacher(path: str | None, made: Translation) -> None:
    """The network by the name of the checkpoint's folder, resnet32x4_vanilla, as RepDistiller finds it."""
    if path is None:
        made.left.append("--path_t: is not there; choose teacher=... and teacher.weights=FILE")
        return
    folder = path.rstrip("/").split("/")[-2] if "/" in path else ""
    parts = folder.split("_")
    name = "_".join(parts[:3] if parts[0] == "wrn" else parts[:1])
    made.network("teacher", name, large_images=False, where=f"--path_t {path}")
    made.overrides["teacher.weights"] = path


def _training(flags: dict[str, str], given: dict[str, str], made: Translation) -> None:
    lr = _number("--learning_rate", flags)
    if flags["--model_s"] in SLOW:
        if "--learning_rate" in given and lr != SLOW_LR:
            made.left.append(
                f"--learning_rate {given['--learning_rate']}: RepDistiller trains {flags['--model_s']} at {SLOW_LR} "
                "whatever it says, and so does this command"
            )
        lr = SLOW_LR
    made.overrides["student/recipe"] = "crd"
    made.sgd(lr=lr, momentum=_number("--momentum", flags), weight_decay=_number("--weight_decay", flags))
    stages = [_number("--lr_decay_epochs", {"--lr_decay_epochs": one}) for one in flags["--lr_decay_epochs"].split(",")]
    made.length(
        epochs=int(_number("--epochs", flags)),
        batch_size=int(_number("--batch_size", flags)),
        milestones=stages,
        factor=_number("--lr_decay_rate", flags),
    )


def _losses(flags: dict[str, str], given: dict[str, str], made: Translation) -> None:
    name = METHODS[flags["--distill"]]
    gamma, alpha, beta = (_number(flag, flags) for flag in ("--gamma", "--alpha", "--beta"))
    kd: dict[str, object] = {"temperature": _number("--kd_T", flags), "weight": alpha}
    missing = [flag for flag in ("--alpha", "--beta") if flag not in given]
    if missing:
        made.left.append(f"{' and '.join(missing)}: not given, where RepDistiller has no default; taken as 0")
    if name == "kd":
        made.losses({"kd": kd}, gamma)
        return
    own: dict[str, object] = {"weight": beta}
    if name == "crd":
        sizes = {"dim": "--feat_dim", "negatives": "--nce_k"}
        own |= {ours: int(_number(flag, flags)) for ours, flag in sizes.items()}
        own |= {ours: _number(flag, flags) for ours, flag in {"temperature": "--nce_t", "momentum": "--nce_m"}.items()}
        if flags["--mode"] != "exact":
            made.left.append(f"--mode {flags['--mode']}: kd-lab takes negatives of other classes alone (exact)")
    if name in WITH_FIRST_STAGE:
        own["stage_epochs"] = int(_number("--init_epochs", flags))
    if "--hint_layer" in given:
        made.left.append(
            f"--hint_layer {given['--hint_layer']}: name the layers, as `kd-lab doctor` lists them, by "
            "student.layers=[...] teacher.layers=[...]"
        )
    made.losses({name: own} | ({"kd": kd} if alpha else {}), gamma)


def _number(flag: str, flags: dict[str, str]) -> float:
    try:
        return float(flags[flag])
    except ValueError as error:
        raise UserError(f"{flag} {flags[flag]}: expected a number") from error
