"""Parts of the config in which every key is known, and what is wrong with one, in our words."""

from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from kd_lab.errors import UserError, choices
from kd_lab.run.build import complaint

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
        raise UserError(f"{'.'.join([key, *path])}={value}: {complaint(error)}") from error


def _path(kind: type[BaseModel], location: list[str]) -> tuple[list[str], list[str]]:
    """The config keys in pydantic's location of an error (it also names branches of unions), and their siblings."""
    path: list[str] = []
    for part in location:
        if part not in kind.model_fields:
            break
        path.append(part)
        inner = kind.model_fields[part].annotation
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            break
        kind = inner
    return path, list(kind.model_fields)
