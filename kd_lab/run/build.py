"""Turns a YAML node with a `_target_` into an object, or says in one sentence why it cannot be one."""

import functools
import inspect
import logging
import re
from collections.abc import Callable, Mapping
from typing import Any, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError

from kd_lab.errors import UserError, choices

Node = Mapping[str, Any]


def locate(key: str, path: object) -> Callable[..., Any]:
    """The class or function at a dotted path.

    Raises:
        UserError: There is nothing to import at `path`, or importing it failed.
    """
    from hydra.utils import get_object

    expected = "expected the dotted path of a class that can be imported from here, such as my_module.Net"
    if not isinstance(path, str) or not path:
        raise UserError(f"{key}._target_={path}: {expected}")
    logging.getLogger("hydra.utils").setLevel(logging.CRITICAL)  # it would say the same a second time
    try:
        found = get_object(path)
    except Exception as error:  # a user's module may raise anything while it is imported
        cause = error.__cause__ or error
        reason = " ".join(str(cause).split()) or type(cause).__name__
        raise UserError(f"{key}._target_={path}: cannot be imported ({reason}); {expected}") from error
    if not callable(found):
        raise UserError(f"{key}._target_={path}: is a {type(found).__name__}; {expected}")
    return found  # type: ignore[no-any-return]


def build(key: str, node: Node, given: Node | None = None) -> Any:
    """The object that a node describes; nodes inside it are built first.

    Args:
        key: Where the node stands in the config; every message starts with it.
        node: `_target_`, optionally `_partial_: true`, and arguments.
        given: Arguments from elsewhere (`num_classes`, `input_shape`); those the signature does not have are left
            out, those the node names itself win.

    Raises:
        UserError: An unknown argument, one of the wrong type or value, or a target that cannot be imported.
    """
    target = locate(key, node.get("_target_"))
    arguments = {k: _inner(f"{key}.{k}", v, given) for k, v in node.items() if k not in {"_target_", "_partial_"}}
    check_arguments(key, target, arguments)
    accepted = parameters(target)
    for name, value in (given or {}).items():
        if name in accepted:
            arguments.setdefault(name, value)
    if node.get("_partial_"):
        return functools.partial(target, **arguments)
    return call(key, target, arguments)


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


def _inner(key: str, value: Any, given: Node | None) -> Any:
    if not is_node(value):
        return value
    return None if value["_target_"] is None else build(key, value, given)


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
