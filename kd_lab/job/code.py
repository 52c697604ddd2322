"""The source that a result follows from, as one hash: an edited file is another one, ours as well as the user's.

In it: the file of every class that the config names, wherever it comes from, the files that these import of their own
package or folder, and the rooms of kd_lab that every training stands on. Not in it, because no number follows from
them: tracking, sweeps, the command line, analysis.
"""

import ast
import hashlib
import inspect
import sysconfig
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import kd_lab
from kd_lab.job.build import locate

TRAINING = ("kd_lab.job.fit", "kd_lab.job.plan", "kd_lab.job.threads", "kd_lab.job.train")
"""Where the training of any network is put together."""
DISTILLING = (
    *TRAINING,
    "kd_lab.job.answers",
    "kd_lab.job.bind",
    "kd_lab.job.chain",
    "kd_lab.job.distil",
    "kd_lab.job.lessons",
    "kd_lab.job.measured",
    "kd_lab.job.pairs",
    "kd_lab.job.ready",
)
"""The same of a student, and how it is measured: what a job is found again with are its numbers."""
MEASURES = "measures"
ROOMS = (
    "augment",
    "datasets",
    "feeds",
    "inputs",
    "insight",
    "losses",
    MEASURES,
    "mixing",
    "models",
    "norm",
    "schedules",
    "seeds",
    "strategies",
    "teachers",
    "training",
    "types",
)


def code_of(nodes: object, roots: tuple[str, ...] = TRAINING) -> str:
    """sha256 (hex) of all source that a result follows from.

    Args:
        nodes: what the config says, mappings and lists; every `_target_` in it counts.
        roots: modules of kd_lab that count beside.

    Raises:
        UserError: a `_target_` cannot be imported.
    """
    found: dict[str, str] = {}
    measured = roots != TRAINING  # a network that is found again is measured again: its weights do not follow from that
    waiting = {**_modules(nodes), **{name: file for name in roots if (file := _beside(_HOME, name)) is not None}}
    while waiting:
        name, file = waiting.popitem()
        stamp = file.stat()
        found[name], imported = _read(name, file, stamp.st_mtime_ns, stamp.st_size)
        waiting.update((o, place) for o, place in imported if o not in found and (measured or _room(o) != MEASURES))
    return hashlib.sha256("\n".join(f"{name} {found[name]}" for name in sorted(found)).encode()).hexdigest()


_HOME = Path(kd_lab.__file__).parents[1]


def _modules(nodes: object) -> dict[str, Path]:
    """The modules that define what the nodes name; what is built into Python has no file."""
    found: dict[str, Path] = {}
    if isinstance(nodes, list | tuple):
        for node in nodes:
            found |= _modules(node)
    if isinstance(nodes, Mapping):
        target = nodes.get("_target_")
        defined = inspect.getmodule(locate("config", target)) if isinstance(target, str) else None
        file = Path(getattr(defined, "__file__", None) or "")
        if defined is not None and file.suffix == ".py" and file.is_file():
            found[defined.__name__] = file
        found |= _modules(list(nodes.values()))
    return found


@cache
def _read(name: str, file: Path, _modified_ns: int, _size: int) -> tuple[str, tuple[tuple[str, Path], ...]]:
    """The hash of a file, and the files beside it that it imports: none of what was installed, which has a version."""
    source = file.read_bytes()
    ours = name.partition(".")[0] == "kd_lab"
    beside: dict[str, Path] = {}
    if ours or not _is_installed(file):
        is_package = file.name == "__init__.py"
        root = file.parents[name.count(".") + is_package]
        for one in _imports(ast.parse(source), name, is_package=is_package):
            place = _beside(root, one)
            if place is not None and (not ours or _room(one) in ROOMS):
                beside[one] = place
    return hashlib.sha256(source).hexdigest(), tuple(sorted(beside.items()))


def _beside(root: Path, module: str) -> Path | None:
    """The file of a module below a folder, without importing anything."""
    place = root.joinpath(*module.split("."))
    return next((file for file in (place.with_suffix(".py"), place / "__init__.py") if file.is_file()), None)


def _room(module: str) -> str:
    return f"{module}.".split(".")[1]


def _imports(tree: ast.Module, name: str, *, is_package: bool) -> Iterator[str]:
    """Every module that may be meant by an import anywhere in a file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = name.split(".")
            above = parts[: len(parts) - node.level + is_package] if node.level else []
            start = [*above, *filter(None, [node.module])]
            yield ".".join(start)
            yield from (".".join([*start, alias.name]) for alias in node.names)


def _is_installed(file: Path) -> bool:
    places = [sysconfig.get_path(key) for key in ("stdlib", "platstdlib", "purelib", "platlib")]
    return any(file.is_relative_to(place) for place in places if place)
