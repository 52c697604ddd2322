"""The YAML of other frameworks: every value by its dotted key, with the line that it stands in; nothing is executed."""

from collections.abc import Iterator
from itertools import chain, islice
from typing import Any, NamedTuple

import yaml

from kd_lab.errors import UserError

MOST = 10_000
"""So many values: aliases could stand for more than memory holds."""


class Value(NamedTuple):
    """What stands at a key, and in which line."""

    value: Any
    line: int


class _Loader(yaml.SafeLoader):
    """Plain values; torchdistill's `!join` joins its list, every other tag is nothing."""


def _join(loader: yaml.SafeLoader, node: yaml.Node) -> str:
    assert isinstance(node, yaml.SequenceNode)
    return "".join(map(str, loader.construct_sequence(node, deep=True)))


_Loader.add_constructor("!join", _join)
_Loader.add_multi_constructor("!", lambda _loader, _suffix, _node: None)


def values_of(text: str, source: str) -> dict[str, Value]:
    """By dotted key; a list is one value.

    Raises:
        UserError: it is no YAML, no mapping, or holds too much.
    """
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if not isinstance(node, yaml.MappingNode):
            raise UserError(f"{source}: expected a YAML file with keys, such as DISTILLER: or models:")
        if sum(1 for _ in islice(_nodes(node), MOST + 1)) > MOST:
            raise UserError(f"{source}: holds more than {MOST:,} values, expected the recipe of one training")
        found = dict(_leaves(loader, node, ""))
    except (yaml.YAMLError, RecursionError, TypeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark is not None else ""
        raise UserError(f"{source}: is no YAML{where}; expected the config of one training") from error
    finally:
        loader.dispose()
    return found


def _nodes(node: yaml.Node) -> Iterator[yaml.Node]:
    """Every one, as often as aliases stand for it."""
    yield node
    inner = chain.from_iterable(node.value) if isinstance(node, yaml.MappingNode) else node.value
    for one in () if isinstance(node, yaml.ScalarNode) else inner:
        yield from _nodes(one)


def _leaves(loader: yaml.SafeLoader, node: yaml.MappingNode, place: str) -> Iterator[tuple[str, Value]]:
    for name, value in node.value:
        key = f"{place}.{name.value}" if place else str(name.value)
        if isinstance(value, yaml.MappingNode) and value.value and not value.tag.startswith("!"):
            yield from _leaves(loader, value, key)
        else:
            yield key, Value(loader.construct_object(value, deep=True), name.start_mark.line + 1)
