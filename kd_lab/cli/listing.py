"""`kd-lab list [GROUP] [GROUP=NAME]`: what can be chosen, a line each; of one choice all that can be set."""

import re
import shlex
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence

from kd_lab.errors import UserError, choices
from kd_lab.job.catalogue import NETWORKS, Setting, choices_of, chosen, description, groups, settings

OWN = """\
More of one:    kd-lab list loss=dkd
Your own class: student._target_=my_module.Net     dataset._target_=my_module.Data
                loss._target_=my_module.MyLoss     (my_module.py in this folder)
Your own YAML:  --config-dir=FOLDER loss=mine      (FOLDER/loss/mine.yaml)
"""
WIDEST_KEY = 44


def list_choices(arguments: list[str]) -> int:
    """The YAML files of conf/: of each the description in its first line, or its settings.

    Raises:
        UserError: there is no such group or choice.
    """
    for one in arguments[1:] or groups():
        group, equals, name = one.partition("=")
        _print(_one(group, name) if equals else _group(one))
    if not arguments[1:]:
        _print(["", *OWN.splitlines()])
    return 0


def _group(name: str) -> Iterator[str]:
    """A line for each choice."""
    group = _real(name)
    if group == "model":
        usage = f"{name}=NAME" if name in NETWORKS else "teacher=NAME, student=NAME"
    else:
        both = ", ".join(f"{chosen(group, network)}=NAME" for network in reversed(NETWORKS))
        usage = both if "student" in chosen(group) and group == "recipe" else f"{chosen(group)}=NAME"
    yield f"{name}  ({'-m ' if group == 'sweep' else ''}{usage})"
    width = max(map(len, choices_of(group)))
    for choice in choices_of(group):
        yield from _row(f"  {choice:<{width}}  ", description(group, choice))


def _one(name: str, choice: str) -> Iterator[str]:
    """What a choice is, its settings with their defaults and meaning, and how it is typed."""
    group = _real(name)
    if choice not in choices_of(group):
        raise UserError(f"list {name}={choice}: no such {name}; {choices(choice, choices_of(group))}")
    network = name if name in NETWORKS else NETWORKS[0]
    found = settings(group, choice, network)
    yield from _row(f"{chosen(group, network)}={choice}  ", description(group, choice))
    if found:
        yield ""
    width = min(max((len(f"{one.key}={one.value}") for one in found), default=0), WIDEST_KEY)
    for one in found:
        yield from _row(f"  {f'{one.key}={one.value}':<{width}}  ", one.meaning)
    yield from ["", f"Example: {_example(group, choice, network, found)}"]


def _example(group: str, choice: str, network: str, found: Sequence[Setting]) -> str:
    """The choice, with what has to be said of it, in the words of its description, or else the first that can be."""
    words = ["kd-lab", *(["-m"] if group == "sweep" else []), f"{chosen(group, network)}={choice}"]
    if group not in ("sweep", "experiment"):
        plain = [one for one in found if "/" not in one.key and "(" not in one.value]
        described = description(group, choice).replace("teacher.", f"{network}.")
        told = dict(re.findall(r"([\w.]+)=([\w./]+)", described))
        needed = [one for one in plain if one.value == "???"]
        needed = needed or [one for one in plain if one.value == "null" and one.key in told][:1]
        others = [f"{one.key}={one.value}" for one in plain if one.value != "null"]
        words += [f"{one.key}={told.get(one.key, '...')}" for one in needed] or others[:1]
    if choice == "custom":
        place = chosen(group, network)
        own = f"{place.replace('/', '.')}._target_=my_module.{EXAMPLES[group]}"
        words = ["kd-lab", *([f"{place}=custom"] if "/" in place else []), own]
    return " ".join(word if re.fullmatch(r"[\w./:=,\[\]-]+", word) else shlex.quote(word) for word in words)


EXAMPLES = {"model": "Net", "dataset": "Data", "loss": "MyLoss", "optimizer": "MyOptimizer"}


def _real(name: str) -> str:
    """The group in conf/ behind a name.

    Raises:
        UserError: there is none.
    """
    group = "model" if name in NETWORKS else name
    if group in groups():
        return group
    having = [f"kd-lab list {one}={name}" for one in groups() if name in choices_of(one)]
    hint = f"did you mean {having[0]}?" if having else choices(name, [*groups(), *NETWORKS])
    raise UserError(f"list {name}: no such group; {hint}")


def _row(start: str, text: str) -> Iterator[str]:
    """A text behind its start, in a terminal wrapped beside it; below it, where it would be too narrow."""
    if not sys.stdout.isatty():
        yield f"{start}{text}".rstrip()
        return
    width = shutil.get_terminal_size().columns
    indent = len(start) if len(start) <= width // 2 else 8
    lines = textwrap.wrap(text, max(width - indent, 20), break_on_hyphens=False)
    if lines and len(start) == indent:
        yield f"{start}{lines.pop(0)}"
    else:
        yield start.rstrip()
    yield from (" " * indent + line for line in lines)


def _print(lines: Sequence[str] | Iterator[str]) -> None:
    for line in lines:
        print(line)  # noqa: T201
