"""conf/ as a person reads it: what can be chosen, the settings of each choice, their meaning and default.

Nothing is imported for it: meanings are comments of the YAML, or what the docstring of the class says under `Args:`.
"""

import ast
import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import yaml

import kd_lab

HIDDEN = ("tuned", "published", "__pycache__")
NETWORKS = ("student", "teacher")
CHOSEN = {"model": "student", "augment": "dataset/augment"} | {
    "recipe": "student/recipe",
    "optimizer": "student/recipe/optimizer",
    "schedule": "student/recipe/schedule",
    "mix": "student/recipe/mix",
}
"""How a group is chosen on the command line, where not by its own name."""
OF_OBJECTIVE = {
    "weight": "how much the loss counts in the objective.",
    "hard_weight": "how much the cross-entropy with the hard labels counts beside it.",
}
"""What the YAML of a loss says beside the arguments of its class."""


@dataclass(frozen=True)
class Setting:
    """`loss.temperature`, `4.0`, and what it means."""

    key: str
    value: str
    meaning: str = ""


def shipped(folder: str) -> Path:
    """A folder that comes with kd-lab: inside the installed package, or beside it in a clone."""
    package = Path(kd_lab.__file__).parent
    return package / folder if (package / folder).is_dir() else package.parent / folder


def conf_dir() -> Path:
    """The folder of the YAML files."""
    return shipped("conf")


def groups() -> dict[str, Path]:
    """The folder of each group."""
    return {p.name: p for p in sorted(conf_dir().iterdir()) if p.is_dir() and p.name not in HIDDEN}


def choices_of(group: str) -> list[str]:
    """The names that can be chosen in a group."""
    folder = groups()[group]
    named = (path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml"))
    return sorted(named, key=_natural)


def _natural(name: str) -> list[tuple[str, int]]:
    """Sorts resnet8 before resnet14."""
    return [(text, int(digits or -1)) for text, digits in re.findall(r"(\D*)(\d*)", name)]


def description(group: str, name: str) -> str:
    """The first comment of a YAML file, Hydra's own (`# @package`) left out."""
    lines = _text(group, name).splitlines()
    comment = next((line for line in lines if line.startswith("#") and not line.startswith("# @")), "")
    return comment.lstrip("# ").rstrip()


def settings(group: str, name: str, network: str = "student") -> list[Setting]:
    """What can be set of a choice, as it is typed.

    network: whose, of a model, recipe, optimizer or schedule.
    """
    text = _text(group, name)
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    if not isinstance(node, yaml.MappingNode):
        return []
    values = _mapping(node)
    told = _told(str(values["_target_"].value)) if "_target_" in values else {}
    if group == "loss":
        told = OF_OBJECTIVE | told
    whole = text.startswith("# @package _global_")
    place = "" if whole else chosen(group, network)
    prefix = place.replace("/", ".")
    found = [*_defaults(values.get("defaults"), place), *_leaves(values, text.splitlines(), prefix)]
    return [replace(one, meaning=one.meaning or told.get(one.key.removeprefix(f"{prefix}."), "")) for one in found]


def chosen(group: str, network: str = "student") -> str:
    """How a group is chosen on the command line: `student/recipe`."""
    return CHOSEN.get(group, group).replace("student", network)


@cache
def choices_with() -> Mapping[str, tuple[str, ...]]:
    """Each setting of a choice (`dataset.path`), and the choices that have it (`dataset=arrays`)."""
    found: dict[str, tuple[str, ...]] = {}
    for group in ("dataset", "model", "loss", "optimizer", "schedule", "mix", "augment"):
        for network in NETWORKS if "student" in chosen(group) else NETWORKS[:1]:
            for name in choices_of(group):
                for one in settings(group, name, network):
                    if "/" not in one.key:
                        found[one.key] = (*found.get(one.key, ()), f"{chosen(group, network)}={name}")
    return found


def _text(group: str, name: str) -> str:
    return (groups()[group] / f"{name}.yaml").read_text(encoding="utf-8")


def _mapping(node: yaml.MappingNode) -> dict[str, yaml.Node]:
    return {str(key.value): value for key, value in node.value}


def _defaults(node: yaml.Node | None, place: str) -> Iterator[Setting]:
    """What a choice chooses in its turn: `dataset/augment=shift`."""
    for one in node.value if node is not None else ():
        for key, value in _mapping(one).items() if isinstance(one, yaml.MappingNode) else ():
            group = key.removeprefix("override ").removeprefix("/")
            kind = group.rpartition("/")[2]
            where = "model" if kind in (*NETWORKS, "member") else kind
            yield Setting(f"{place}/{group}" if place else group, str(value.value), f"see kd-lab list {where}")


def _leaves(values: Mapping[str, yaml.Node], lines: list[str], place: str) -> Iterator[Setting]:
    for name, node in values.items():
        if name in ("defaults", "_target_", "_partial_"):
            continue
        if name == "hydra":  # of a sweep: the grid
            params = _mapping(_mapping(_mapping(node)["sweeper"])["params"])  # type: ignore[arg-type]
            yield from _leaves(params, lines, "")
            continue
        key = f"{place}.{name}" if place else name
        if isinstance(node, yaml.MappingNode) and not node.flow_style and "_target_" not in _mapping(node):
            yield from _leaves(_mapping(node), lines, key)
        else:
            comment = re.search(r"\s#\s*(.+)", lines[node.start_mark.line][node.start_mark.column :])
            yield Setting(key, _shown(node), comment[1] if comment else "")


def _shown(node: yaml.Node) -> str:
    """A value as it is typed; of a node that builds something, its name and arguments."""
    if isinstance(node, yaml.ScalarNode):
        return str(node.value)
    if isinstance(node, yaml.SequenceNode):
        return f"[{','.join(map(_shown, node.value))}]"
    values = _mapping(node)  # type: ignore[arg-type]
    inside = ",".join(f"{key}:{_shown(value)}" for key, value in values.items() if not key.startswith("_"))
    return f"{values['_target_'].value.rpartition('.')[2]}({inside})" if "_target_" in values else f"{{{inside}}}"


def _told(target: str) -> dict[str, str]:
    """What the docstring of a class or function of kd_lab, and of those that it is derived from, says of arguments."""
    if not target.startswith("kd_lab."):
        return {}
    *inside, name = target.split(".")[1:]
    file = Path(kd_lab.__file__).parent.joinpath(*inside).with_suffix(".py")
    tree = ast.parse(file.read_text(encoding="utf-8"))
    kinds = (ast.ClassDef, ast.FunctionDef)
    found = next((node for node in tree.body if isinstance(node, kinds) and node.name == name), None)
    told: dict[str, str] = {}
    for base in found.bases if isinstance(found, ast.ClassDef) else ():
        told |= _told(_imported(tree).get(ast.unparse(base), ""))
    inner = [node for node in getattr(found, "body", ()) if getattr(node, "name", "") == "__init__"]
    for node in filter(None, [found, *inner]):
        told |= _arguments(ast.get_docstring(node) or "")
    return told


def _imported(tree: ast.Module) -> dict[str, str]:
    """The dotted path of each name that a module takes from another."""
    taken = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    return {one.asname or one.name: f"{node.module}.{one.name}" for node in taken for one in node.names}


def _arguments(docstring: str) -> dict[str, str]:
    section = re.search(r"^Args:\n((?:[ \t]+.*\n?|\n)+)", inspect.cleandoc(docstring), re.MULTILINE)
    told = re.findall(r"^ {4}(\w+): ((?:.*\n?)(?: {8}.*\n?)*)", section[1] if section else "", re.MULTILINE)
    return {name: " ".join(meaning.split()) for name, meaning in told}
