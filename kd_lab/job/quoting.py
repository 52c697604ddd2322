"""Values as they are typed: quoted for the user where Hydra's grammar would refuse them, or make a number of a name."""

import re
from functools import cache

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException

PLAIN = re.compile(r"[\w./:,+-]*", re.ASCII)
"""What Hydra takes as it is."""
SYNTAX = re.compile(r"\s*(['\"[{]|(choice|range|interval|glob|sort|shuffle|tag|str|int|float|bool)\s*\()")
"""How a value begins that is written in Hydra's own grammar: quotes, a list, a mapping, a function."""
NUMBER = re.compile(r"[+-]?[\d._]+(e[+-]?\d+)?|[+-]?(inf|nan)|true|false", re.IGNORECASE)
NAMES = ("study",)
"""Keys whose values are names, whatever they look like: study=2024_01."""


def quoted(override: str) -> str:
    """The override as Hydra takes it. A comma stays a sweep: each value between commas is quoted by itself.

    Examples:
        >>> print(quoted("dataset.path=~/it's.npz"), quoted("loss=kd"), quoted("study=2024_01"))
        dataset.path="~/it's.npz" loss=kd study="2024_01"
    """
    key, equals, value = override.partition("=")
    is_name = key in NAMES
    if not equals or SYNTAX.match(value) or (not is_name and (PLAIN.fullmatch(value) or _is_taken(value))):
        return override
    parts = [part.strip() for part in value.split(",")]
    return f"{key}={','.join(_quoted(part) if _needs(part, is_name=is_name) else part for part in parts)}"


def _needs(part: str, *, is_name: bool) -> bool:
    return not _is_taken(part) or (is_name and NUMBER.fullmatch(part) is not None)


def _quoted(text: str) -> str:
    return QuotedString(text, Quote.double).with_quotes()


def _is_taken(value: str) -> bool:
    try:
        _parser().parse_override(f"key={value}")
    except HydraException:
        return False
    return True


@cache
def _parser() -> OverridesParser:
    return OverridesParser.create()
