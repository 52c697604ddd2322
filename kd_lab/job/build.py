"""Turns a YAML node with a `_target_` into an object, or says in one sentence why it cannot be one."""

import functools
import importlib.util
import inspect
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib.machinery import ModuleSpec
from typing import Any, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError

from kd_lab.errors import UserError, choices
from kd_lab.outside.nodes import Whitelist, is_trusted

Node = Mapping[str, Any]


def locate(key: str, path: object, allowed: Whitelist | None = None) -> Callable[..., Any]:
    """The class or function at a dotted path; one of the user's own may lie in the working directory.

    Args:
        key: where the node stands in the config; every message starts with it.
        path: its `_target_`.
        allowed: what may be named, where a store names it; None: the user does.

    Raises:
        UserError: There is nothing to import at `path`, importing it failed, or a store may not name it.
    """
    from hydra.utils import get_object

    expected = "expected the dotted path of a class that can be imported from here, such as my_module.Net"
    if allowed is not None:
        allowed.check_name(key, path)
    if not isinstance(path, str) or not path:
        raise UserError(f"{key}._target_={path}: {expected}")
    hint = _from_here(path.partition(".")[0]) if allowed is None or is_trusted(path) else ""
    logging.getLogger("hydra.utils").setLevel(logging.CRITICAL)  # it would say the same a second time
    try:
        found = get_object(path)
    except Exception as error:  # a user's module may raise anything while it is imported
        cause = error.__cause__ or error
        reason = " ".join(str(cause).split()) or type(cause).__name__
        raise UserError(f"{key}._target_={path}: cannot be imported ({reason}); {hint or expected}") from error
    if allowed is not None:
        allowed.check_found(key, path, found)
    if not callable(found):
        raise UserError(f"{key}._target_={path}: is a {type(found).__name__}; {expected}")
    return found  # type: ignore[no-any-return]


def _from_here(module: str) -> str:
    """Have a module that is nowhere else looked for in the working directory, from now on and behind all else.

    Not before one is asked for: a folder that one stands in may be anybody's, and Python's own modules, plug-ins and
    what libraries import if it is there would be taken from it.

    Returns:
        What to do about a module of this name that is here and cannot be reached, else an empty text.
    """
    here = os.getcwd()
    if here not in sys.path and _spec(module) is None:
        sys.path.append(here)
    found = _spec(module)
    elsewhere = found is not None and found.origin is not None and not found.origin.startswith(f"{here}{os.sep}")
    if elsewhere and any(os.path.exists(os.path.join(here, name)) for name in (f"{module}.py", module)):
        return f"{module} is also the name of a package that is installed, so rename the one in this folder"
    return ""


def _spec(module: str) -> ModuleSpec | None:
    try:
        return importlib.util.find_spec(module)
    except ValueError:  # no name of a module, or one that was made without a file
        return None


def build(key: str, node: Node, given: Node | None = None, allowed: Whitelist | None = None) -> Any:
    """The object that a node describes; nodes inside it, and in mappings inside it, are built first.

    Args:
        key: Where the node stands in the config; every message starts with it.
        node: `_target_`, optionally `_partial_: true`, and arguments.
        given: Arguments from elsewhere (`Data.given`); those the signature does not have are left
            out, those the node names itself win.
        allowed: What the node and those in it may name, where they come from a store.

    Raises:
        UserError: An unknown argument, one of the wrong type or value, or a target that cannot be imported.
    """
    target = locate(key, node.get("_target_"), allowed)
    arguments = {
        k: _inner(f"{key}.{k}", v, given, allowed) for k, v in node.items() if k not in {"_target_", "_partial_"}
    }
    check_arguments(key, target, arguments)
    accepted = parameters(target)
    for name, value in (given or {}).items():
        if name in accepted:
            arguments.setdefault(name, value)
    if node.get("_partial_"):
        return functools.partial(target, **arguments)
    return call(key, target, arguments)


def check_named(key: str, node: Node, allowed: Whitelist) -> None:
    """Look at all that a node and those in it name, as `build` would, and build nothing.

    Raises:
        UserError: a store may not name one of them, or it cannot be imported.
    """
    locate(key, node.get("_target_"), allowed)
    for name, inner in _nodes(key, node):
        check_named(name, inner, allowed)


def _nodes(key: str, node: Node) -> Iterator[tuple[str, Node]]:
    """Those that stand in it, or in a mapping in it, and are built; each with its own key."""
    for name, value in node.items():
        if is_node(value):
            if value["_target_"] is not None:
                yield f"{key}.{name}", value
        elif isinstance(value, Mapping):
            yield from _nodes(f"{key}.{name}", value)


def call(key: str, target: Callable[..., Any], arguments: Node) -> Any:
    """Call the target; what it finds wrong with its arguments becomes a UserError that starts with the key."""
    try:
        return target(**arguments)
    except UserError:
        raise
    except (ValueError, TypeError, ImportError) as error:
        raise UserError(_with_key(key, " ".join(str(error).split()), arguments)) from error


def _with_key(key: str, message: str, arguments: Node) -> str:
    """Our own constructors say "Expected `x` to be > 0, but got -1."; the user knows it as key.x=-1."""
    told = re.fullmatch(r"Expected `(\w+)` to be (.+), but got (.+?)\.?", message)
    if told is None or told[1] not in arguments:
        return f"{key}: {message}"
    value, colon, advice = told[3].partition(": ")
    return f"{key}.{told[1]}={value}: expected {told[2]}{'; ' if colon else ''}{advice}"


def is_node(value: Any) -> bool:
    """Whether a value of the config describes an object."""
    return isinstance(value, Mapping) and "_target_" in value


def _inner(key: str, value: Any, given: Node | None, allowed: Whitelist | None) -> Any:
    if not is_node(value):
        if isinstance(value, Mapping):
            return {name: _inner(f"{key}.{name}", inner, given, allowed) for name, inner in value.items()}
        return value
    return None if value["_target_"] is None else build(key, value, given, allowed)


def parameters(target: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The named parameters of a class or function, `self` left out."""
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {n: p for n, p in inspect.signature(target).parameters.items() if p.kind in kinds}


def check_arguments(key: str, target: Callable[..., Any], arguments: dict[str, Any]) -> None:
    """Check names and types against the signature; values that fit after a conversion (2 to 2.0) are converted."""
    accepted = parameters(target)
    takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in inspect.signature(target).parameters.values())
    hints = _hints(target)
    for name, value in arguments.items():
        if name not in accepted:
            if takes_any:
                continue
            label = getattr(target, "__name__", str(target))
            raise UserError(f"{key}.{name}={value}: {label} has no such argument; {choices(name, list(accepted))}")
        if name in hints:
            arguments[name] = _converted(f"{key}.{name}", value, hints[name])


def _hints(target: Callable[..., Any]) -> dict[str, Any]:
    try:
        return get_type_hints(target.__init__ if inspect.isclass(target) else target)
    except (NameError, TypeError):  # annotations of foreign code that do not resolve: nothing to check against
        return {}


def _converted(key: str, value: Any, annotation: Any) -> Any:
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(annotation, config=ConfigDict(arbitrary_types_allowed=True))
    except PydanticSchemaGenerationError:
        return value
    except PydanticUserError:  # the annotation carries a config of its own
        adapter = TypeAdapter(annotation)
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        raise UserError(f"{key}={value}: {complaint(error)}") from error


def complaint(error: ValidationError) -> str:
    """The first thing pydantic found wrong, in our words: what was expected."""
    first = error.errors()[0]
    message = str(first["msg"]).removeprefix("Value error, ")
    if first["type"] == "sequence_str":
        message = "expected a list, such as [64,32]"
    message = re.sub(r"Input should be (?=greater|less)", "expected a value ", message).replace(
        "Input should be", "expected"
    )
    return message[0].lower() + message[1:]
