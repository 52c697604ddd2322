"""Short names for people: of a network (`mlp 32`), of a loss (`kd+at`), of a sweep; and the parameters of a run."""

import shlex
from collections.abc import Mapping
from typing import Any

from kd_lab import names

Node = Mapping[str, Any]

LONGEST_VALUE = 24
"""Characters of one setting's values in the name of a sweep."""

LEFT_OUT = "without_classes"


def network_name(node: Node) -> str:
    """`mlp 32`, `3 x cnn`, `resnet18`, `my_module.Net`."""
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
    return f"{short} {'-'.join(map(str, widths))}" if isinstance(widths, list) else short


def loss_name(config: Node) -> str:
    """`kd`, `kd+at`, `none`."""
    return "+".join(config["loss"]["terms"]) or "none"


def _left_out(config: Node) -> dict[str, object]:
    """`student.without_classes`, a parameter of the runs that leave some out only."""
    classes = config["student"].get(LEFT_OUT)
    return {LEFT_OUT: classes} if classes else {}


def run_name(role: str, config: Node, node: Node, label: str, seed: int) -> str:
    """What MLflow's table shows first: `mlp 32 kd temperature=2 seed=0`, `mlp 32 alone seed=0`, `teacher 3 x cnn`.

    label: what is special about the job in its sweep. A teacher and a student alone belong to many jobs, so they have
    none.
    """
    if role == names.TEACHER:
        return f"teacher {network_name(node)}"
    if role == names.BASELINE:
        return f"{network_name(node)} alone seed={seed}"
    said = {"loss", "student", "seed"}
    special = [part.removeprefix("loss.") for part in label.split() if part.split("=", 1)[0] not in said]
    return " ".join([network_name(node), loss_name(config), *special, f"seed={seed}"])


def sweep_name(title: str) -> str:
    """`sweep temperature_weight`, `sweep loss=kd,soft_label,… seed=0,1,2`: of `sweep` and what the user typed.

    The study is left out, because all of its sweeps share it.
    """
    parts = []
    for word in shlex.split(title):
        key, _, values = word.partition("=")
        if key == "study":
            continue
        if len(values) > LONGEST_VALUE:
            values = values[:LONGEST_VALUE].rpartition(",")[0] + ",…"
        parts.append(
            values if key == "sweep" and values else f"{key.removeprefix('loss.')}={values}" if values else key
        )
    return " ".join(parts)


def role_params(role: str, config: Node, node: Node, recipe: object, seed: int) -> dict[str, object]:
    """What of the config made this network: MLflow parameters, nested; `network` and `loss_name` for the run table.

    `node` and `recipe` are those in effect: a baseline's recipe is the student's with its own differences.
    """
    own: dict[str, object]
    if role == names.TEACHER:
        own = {"teacher": {**node, "recipe": recipe, "weights": config["teacher"].get("weights")}}
    elif role == names.BASELINE:
        own = {"student": {**node, **_left_out(config)}, "baseline": {"recipe": recipe}}
    else:
        student = {k: v for k, v in config["student"].items() if k != LEFT_OUT}
        own = {"teacher": config["teacher"], "student": student | _left_out(config), "loss": config["loss"]}
    loss = loss_name(config) if role in (names.STUDENT, names.TRIAL) else "none"
    shared = {k: config[k] for k in ("dataset", "trainer", "measure")}
    # A loss may deploy more than the network that was chosen, which stays what the student is called in tables.
    chosen = node if role in (names.TEACHER, names.BASELINE) else {**config["student"]}
    called = {"network": network_name(chosen)}
    if network_name(node) != called["network"]:
        called["deployed"] = network_name(node)
    return {**called, "loss_name": loss, "seed": seed, **shared, **own}
