"""Short names for people: of a network (`mlp 32`), of a loss (`kd+at`), of a sweep; and the parameters of a run."""

import re
import shlex
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, cast

from omegaconf import OmegaConf

from kd_lab import names
from kd_lab.job.catalogue import conf_dir

Node = Mapping[str, Any]

LONGEST_NAME = 240
"""Characters: MLflow's column for the name of a run takes 250."""

LEFT_OUT = ("without_classes", "unlabelled")
"""What of the student says that it does not see all."""


def network_name(node: Node) -> str:
    """`mlp 32`, `3 x cnn`, `resnet8x4`, `my_module.Net`."""
    target = str(node.get("_target_", ""))
    if isinstance(node.get("member"), Mapping):
        return f"{node.get('size')} x {network_name(node['member'])}"
    if isinstance(node.get("student"), Mapping):
        return f"{network_name(node['student'])} + projector"
    if isinstance(node.get("estimator"), Mapping):
        return str(node["estimator"].get("_target_")).rsplit(".", 1)[-1]
    if isinstance(node.get("name"), str):
        return str(node["name"])
    if not target.startswith("kd_lab."):
        return target
    short = target.rsplit(".", 1)[-1].lower()
    widths = node.get("widths")
    return f"{short} {'-'.join(map(str, widths))}" if isinstance(widths, list) else _chosen(node) or short


def _chosen(node: Node) -> str | None:
    """The name in conf/model of what builds this very network, or of the only one of its class."""
    found = _choices(str(node["_target_"]))
    exact = next((name for name, own in found.items() if all(node.get(k) == v for k, v in own.items())), None)
    return next(iter(found)) if exact is None and len(found) == 1 else exact


@cache
def _choices(target: str) -> dict[str, Node]:
    """The content of every YAML of conf/model that builds this class, by name."""
    files = [file for file in conf_dir().glob("model/*.yaml") if target in file.read_text(encoding="utf-8")]
    return {file.stem: cast("Node", OmegaConf.to_container(OmegaConf.load(file))) for file in sorted(files)}


def loss_name(config: Node) -> str:
    """`kd`, `kd+at`, `none`; with a strategy `assistants:kd`."""
    loss = "+".join(config["loss"]["terms"]) or "none"
    strategy = config.get("strategy") or {}
    return f"{strategy_name(strategy)}:{loss}" if strategy.get("_target_") else loss


def strategy_name(node: Node) -> str:
    """`assistants`; one of the user's own by its class."""
    module, _, kind = str(node["_target_"]).rpartition(".")
    return module.rpartition(".")[2] if module.startswith("kd_lab.") else kind


def _left_out(config: Node, keys: Sequence[str] = LEFT_OUT) -> dict[str, object]:
    """`student.without_classes` and `student.unlabelled`, parameters of the runs that leave some out only."""
    said = {key: config["student"].get(key) for key in keys}
    return {key: value for key, value in said.items() if value not in (None, [])}


def run_name(role: str, config: Node, node: Node, label: str, seed: int) -> str:
    """What MLflow's table shows first: `temperature=2 seed=0 kd mlp 32`, `alone seed=0 mlp 32`, `teacher seed=1 cnn`.

    What differs from run to run comes first, in few words: MLflow cuts what does not fit into its column.

    label: what is special about the job in its sweep. A teacher and a student alone belong to many jobs, so they have
    none.
    """
    told = {names.TEACHER: "teacher", names.BASELINE: "alone", names.ASSISTANT: "assistant", names.PEER: "peer"}
    if role in told:
        return f"{told[role]} seed={seed} {network_name(node)}"
    special = dict(word.split("=", 1) for word in _words(label))
    keys = [key for key in special if key not in {"loss", "student", "seed"}]
    short = {key: key.rsplit(".", 1)[-1] for key in keys}
    if len({*short.values(), "seed"}) < len(keys) + 1:
        short = {key: key.removeprefix("loss.") for key in keys}
    varied = [f"{short[key]}={special[key]}" for key in keys]
    first, last = ([loss_name(config)], []) if "loss" in special else ([], [loss_name(config)])
    return " ".join([*first, *varied, f"seed={seed}", *last, network_name(node)])


def _words(label: str) -> list[str]:
    """`student.widths=[16]` and `seed=0` of both; a value with spaces in it is in quotes."""
    return [word.replace('"', "") for word in re.findall(r'(?:[^\s"]|"(?:\\.|[^"\\])*")+', label) if "=" in word]


def sweep_name(title: str) -> str:
    """`sweep sweep=temperature_weight`, `sweep loss=kd,dkd seed=0,1,2`: after the first word what can be typed again.

    What is swept over comes first, and last the study, which all of its sweeps share.
    """
    first, *words = shlex.split(title)
    name = shlex.join([first, *sorted(words, key=_turn)])
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"


def _turn(word: str) -> int:
    swept = word.startswith("sweep=") or "," in word
    return 2 if word.startswith("study=") else 0 if swept else 1


def role_params(role: str, config: Node, node: Node, recipe: object, seed: int) -> dict[str, object]:
    """What of the config made this network: MLflow parameters, nested; `network` and `loss_name` for the run table.

    `node` and `recipe` are those in effect: a baseline's recipe is the student's with its own differences.
    """
    own: dict[str, object]
    if role == names.TEACHER:
        own = {"teacher": {**node, "recipe": recipe, "weights": config["teacher"].get("weights")}}
    elif role == names.BASELINE:
        own = {"student": {**node, **_left_out(config, LEFT_OUT[:1])}, "baseline": {"recipe": recipe}}
    else:
        student = {k: v for k, v in config["student"].items() if k not in LEFT_OUT}
        if role == names.PEER:
            student = {**node, "recipe": recipe}
        own = {"teacher": config["teacher"], "student": student | _left_out(config), "loss": config["loss"]}
        own |= {"strategy": config["strategy"]} if (config.get("strategy") or {}).get("_target_") else {}
    loss = "none" if role in (names.TEACHER, names.BASELINE) else loss_name(config)
    shared = {k: config[k] for k in ("dataset", "trainer", "measure")}
    # A loss may deploy more than the network that was chosen, which stays what the student is called in tables.
    chosen = node if role in (names.TEACHER, names.BASELINE, names.PEER) else {**config["student"]}
    called = {"network": network_name(chosen)}
    if network_name(node) != called["network"]:
        called["deployed"] = network_name(node)
    return {**called, "loss_name": loss, "seed": seed, **shared, **own}
