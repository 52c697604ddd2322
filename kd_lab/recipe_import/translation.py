"""A recipe of another framework as a kd-lab command: what was understood, what was not, and names for networks."""

import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from kd_lab.job.catalogue import choices_of

ALIASES = {"mobile_half": "mobilenet_v2", "wide_resnet": "wrn"}
"""What others call a network of conf/model, where not by the same letters and digits."""
ON_LARGE_IMAGES = {"mobilenetv1": ("timm", "mobilenetv1_100")}
"""Networks of ImageNet recipes that torchvision has not: library and name."""


@dataclass
class Translation:
    """One training. overrides: by key, in the order in which they are typed. left: a sentence for each thing left out.

    harmless: what no result follows from (logging, workers), by its own name.
    """

    framework: str
    overrides: dict[str, str] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)
    harmless: list[str] = field(default_factory=list)

    def say(self, key: str, value: object) -> None:
        """One override; a number as short as it is exact."""
        self.overrides[key] = written(value)

    def network(self, role: str, name: str, *, large_images: bool, where: str) -> None:
        """The teacher or the student by our name for it; `where` says where it stands, if we have none."""
        if large_images:
            library, ours = ON_LARGE_IMAGES.get(_letters(name), ("torchvision", name.lower()))
            self.overrides |= {role: library, f"{role}.name": ours}
        elif (known := our_network(name)) is not None:
            self.overrides[role] = known
        else:
            self.left.append(f"{where}: kd-lab has no network of this name for 32x32 images; choose {role}=...")

    def sgd(self, *, lr: float, momentum: float, weight_decay: float) -> None:
        """The student's optimizer."""
        self.overrides["student/recipe/optimizer"] = "sgd"
        for name, value in {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}.items():
            self.say(f"student.recipe.optimizer.{name}", value)

    def length(self, *, epochs: int, batch_size: int, milestones: Iterable[float], factor: float) -> None:
        """How long, and after which epochs the learning rate is multiplied by the factor."""
        kept = [one for one in milestones if 0 < one < epochs]
        self.overrides |= {"student.recipe.epochs": str(epochs), "student.recipe.batch_size": str(batch_size)}
        self.overrides["student/recipe/schedule"] = "multistep" if kept else "constant"
        if kept:
            self.say("student.recipe.schedule.milestones", [one / epochs for one in kept])
            self.say("student.recipe.schedule.factor", factor)

    def losses(self, terms: dict[str, dict[str, object]], hard_weight: float) -> None:
        """The losses with their settings; the weight of the hard labels beside them."""
        names = list(terms)
        self.overrides["loss"] = names[0] if len(names) == 1 else f"[{','.join(names)}]" if names else "none"
        for name, settings in terms.items():
            for key, value in settings.items():
                self.say(f"loss.terms.{name}.{key}", value)
        self.say("loss.hard_weight", hard_weight)

    def pair(self) -> str | None:
        """The experiment of these two networks on this data, if there is one."""
        name = "{dataset}/{teacher}_{student}".format_map(
            {"teacher": "", "student": "", "dataset": ""} | self.overrides
        )
        return name if name in choices_of("experiment") else None

    def command(self) -> str:
        """As it is typed in a shell."""
        return " \\\n    ".join(["kd-lab", *(shlex.quote(f"{key}={value}") for key, value in self.overrides.items())])


def our_network(name: str) -> str | None:
    """`wrn_40_2`, `shuffle_v1`: the network of conf/model with the same letters and digits, whatever their case."""
    known = {_letters(one): one for one in choices_of("model")}
    for theirs, ours in ALIASES.items():
        if name.lower().startswith(theirs):
            name = ours + name[len(theirs) :]
    return known.get(_letters(name))


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def written(value: object) -> str:
    """`0.05`, `[0.625,0.75,0.875]`, `true`."""
    if isinstance(value, bool) or value is None:
        return str(value).lower() if value is not None else "null"
    if isinstance(value, float):
        return f"{value:.12g}"
    if isinstance(value, list | tuple):
        return f"[{','.join(map(written, value))}]"
    return str(value)


def nested(overrides: dict[str, str]) -> dict[str, Any]:
    """Those that are values, not choices, as a tree."""
    import yaml

    tree: dict[str, Any] = {}
    for key, value in overrides.items():
        if "." in key:
            *path, last = key.split(".")
            node = tree
            for part in path:
                node = node.setdefault(part, {})
            node[last] = yaml.safe_load(value)
    return tree
