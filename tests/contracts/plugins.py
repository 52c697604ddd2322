"""Finds every plug-in by walking the package and conf/, and says by name what is wrong with one.

A plug-in NAME is three files: kd_lab/GROUPS/NAME.py, conf/GROUP/NAME.yaml and tests/GROUPS/test_NAME.py. A family of
plug-ins, such as the depths of one network, is one Python file and one test, with a YAML for each member's usual name.
"""

import importlib
import inspect
import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

import kd_lab

PACKAGES = {
    "dataset": "datasets",
    "model": "models",
    "loss": "losses",
    "schedule": "schedules",
    "augment": "augment",
    "mix": "mixing",
    "strategy": "strategies",
}
"""The group in conf/ to the package in kd_lab/."""

LOSS_KEYS = ("weight", "hard_weight", "schedules")
"""What the YAML of a loss holds for the objective and not for the loss."""

HYDRA_KEYS = ("_target_", "_partial_", "_convert_", "_recursive_", "defaults")


ROOT = Path(kd_lab.__file__).parents[1]
PACKAGE, CONF = ROOT / "kd_lab", ROOT / "conf"


def modules(group: str) -> list[str]:
    """The names of the plug-ins that have a Python file."""
    return sorted(p.stem for p in (PACKAGE / PACKAGES[group]).glob("*.py") if p.stem != "__init__")


def yamls(group: str) -> list[str]:
    """The names of the YAML files of a group."""
    return sorted(p.stem for p in (CONF / group).glob("*.yaml"))


@cache
def settings(group: str, name: str) -> dict[str, Any]:
    """The content of a YAML file, as Hydra's own parser reads it; to be read, not changed."""
    content = OmegaConf.to_container(OmegaConf.load(CONF / group / f"{name}.yaml"))
    assert isinstance(content, dict), f"conf/{group}/{name}.yaml: Expected keys and values."
    return {str(key): value for key, value in content.items()}


def arguments(group: str, content: Mapping[str, Any]) -> dict[str, Any]:
    """What the YAML passes to its target."""
    own = HYDRA_KEYS + (LOSS_KEYS if group == "loss" else ())
    return {key: value for key, value in content.items() if key not in own}


def target(content: Mapping[str, Any]) -> Callable[..., Any]:
    """What `_target_` names."""
    module, _, name = str(content["_target_"]).rpartition(".")
    found = getattr(importlib.import_module(module), name)
    assert callable(found), f"Expected {content['_target_']} to be a class or a function."
    return found  # type: ignore[no-any-return]


def has_target(name: str, content: Mapping[str, Any]) -> bool:
    """False for none.yaml and for a YAML whose target the user fills in."""
    return name != "none" and content.get("_target_", "") not in (None, "???")


def missing_files(group: str, name: str) -> list[str]:
    """What the plug-in with this Python file still needs."""
    package = PACKAGES[group]
    needed = {f"tests/{package}/test_{name}.py": "so that it is tested"}
    if not any(module_of(settings(group, other)) == f"kd_lab.{package}.{name}" for other in yamls(group)):
        needed[f"conf/{group}/{name}.yaml"] = f"so that `{group}={name}` can be chosen"
    return [
        f"kd_lab/{package}/{name}.py: write {path}, {why} "
        f"(a helper that is no plug-in belongs in kd_lab/{package}/common/)."
        for path, why in needed.items()
        if not (ROOT / path).is_file()
    ]


def module_of(content: Mapping[str, Any]) -> str:
    """The module of what `_target_` names."""
    return str(content.get("_target_", "")).rpartition(".")[0]


def header_problems(group: str, name: str) -> list[str]:
    """What is wrong with the comments at the top of a YAML file."""
    where = f"conf/{group}/{name}.yaml"
    lines = (ROOT / where).read_text(encoding="utf-8").splitlines()
    described = next((line for line in lines if not is_header(line)), "")
    problems = []
    if not re.match(r"# \w", described):
        problems.append(f"{where}: start with `# ` and the one-line description that `kd-lab list {group}` shows.")
    wanted = f"# @package loss.terms.{name}"
    if group == "loss" and name != "none" and lines[0] != wanted:
        problems.append(f"{where}: Expected line 1 to be `{wanted}`, but got `{lines[0]}`.")
    return problems


def is_header(line: str) -> bool:
    """Whether Hydra reads the line as a header, such as `# @package _global_`."""
    return re.match(r"\s*#\s*@", line) is not None


def target_problems(group: str, name: str) -> list[str]:
    """What is wrong with the target of a YAML file and the arguments it passes."""
    where, content = f"conf/{group}/{name}.yaml", settings(group, name)
    if not has_target(name, content):
        return []
    if group in PACKAGES:
        homes = [f"kd_lab.{PACKAGES[group]}.{module}" for module in modules(group)]
        if module_of(content) not in homes:
            return [f"{where}: write kd_lab/{PACKAGES[group]}/{name}.py, or name one that is there as `_target_`."]
    return [f"{where}: {problem}" for problem in _call_problems(content, arguments(group, content))]


def _call_problems(content: Mapping[str, Any], passed: Mapping[str, Any]) -> list[str]:
    """Of one node and the nodes inside it."""
    name = content["_target_"]
    try:
        parameters = inspect.signature(target(content)).parameters
    except (ImportError, AttributeError) as error:
        return [f"Expected `_target_` {name} to import, but got: {error}."]
    problems = []
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        problems.append(f"{name} takes **kwargs: write its arguments out, so that a typo is found.")
    known = ", ".join(parameters)
    problems += [f"{name} has no argument `{key}` (it has {known})." for key in passed if key not in parameters]
    for value in passed.values():
        if isinstance(value, dict) and value.get("_target_", "???") not in (None, "???"):
            problems += _call_problems(value, arguments("", value))
    return problems


def with_target(group: str) -> list[str]:
    """The names of this repository's YAML files of a group that build something."""
    return [name for name in yamls(group) if has_target(name, settings(group, name))]


def build(group: str, name: str) -> Any:
    """The object that a YAML of this repository describes, with the settings it ships with."""
    content = settings(group, name)
    return target(content)(**arguments(group, content))
