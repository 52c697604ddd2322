"""Parts of the config in which every key is known, and what is wrong with one, in our words."""

from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError

from kd_lab.errors import UserError, choices
from kd_lab.job.build import complaint

Node = dict[str, Any]


class Strict(BaseModel):
    """A part of the config in which every key is known."""

    model_config = ConfigDict(extra="forbid", frozen=True)


T = TypeVar("T", bound=BaseModel)


def parsed(key: str, node: object, kind: type[T]) -> T:
    """The node as an object of this kind; what is wrong with it becomes a UserError with the key and the value."""
    try:
        return kind.model_validate(node)
    except ValidationError as error:
        first = error.errors()[0]
        path, known = _path(kind, [str(p) for p in first["loc"]])
        value = first["input"]
        if first["type"] == "extra_forbidden":
            name = str(first["loc"][-1])
            raise UserError(f"{'.'.join([key, *path, name])}={value}: no such key; {choices(name, known)}") from error
        told = "" if first["type"] == "value_error" and isinstance(value, dict) else f"={value}"
        raise UserError(f"{'.'.join([key, *path])}{told}: {complaint(error)}") from error


def _path(kind: type[BaseModel], location: list[str]) -> tuple[list[str], list[str]]:
    """The config keys in pydantic's location of an error (it also names branches of unions), and their siblings."""
    path: list[str] = []
    parts = iter(location)
    for part in parts:
        if part not in kind.model_fields:
            break
        path.append(part)
        inner, named = _inner(kind.model_fields[part].annotation)
        if inner is None:
            break
        if named:
            path += [name for name in [next(parts, None)] if name is not None]
        kind = inner
    return path, list(kind.model_fields)


def _inner(annotation: Any) -> tuple[type[BaseModel] | None, bool]:
    """The model in `Model`, `Model | None` or `dict[str, Model] | None`, and whether each has a name."""
    for one in [annotation, *get_args(annotation)]:
        if isinstance(one, type) and issubclass(one, BaseModel):
            return one, False
        if get_origin(one) is dict:
            return _inner(get_args(one)[1])[0], True
    return None, False
