"""Numbers of a comparison as people read them; a dash where there is none. Accuracies and shares come as fractions."""

import math
from typing import Any, SupportsFloat

DASH = "-"


def number(value: Any) -> float:
    """The value as a float, NaN where it is none."""
    if value is None or (isinstance(value, str) and not value):
        return math.nan
    try:
        return float(value) if isinstance(value, SupportsFloat | str) else math.nan
    except (TypeError, ValueError):  # pandas.NA
        return math.nan


def fixed(value: Any, digits: int = 2, scale: float = 1.0) -> str:
    """`1,234.50`."""
    found = number(value) * scale
    return f"{found:,.{digits}f}" if math.isfinite(found) else DASH


def percent(value: Any, digits: int = 2) -> str:
    """`95.33`."""
    return fixed(value, digits, 100)


def points(value: Any, digits: int = 2) -> str:
    """`+4.33`, with its sign."""
    found = 100 * number(value)
    return f"{found:+.{digits}f}" if math.isfinite(found) else DASH


def p_value(value: Any) -> str:
    """`0.004`, `< 0.001`."""
    found = number(value)
    if not math.isfinite(found):
        return DASH
    return "< 0.001" if found < 0.001 else f"{found:.3f}"


def p_in_words(value: Any) -> str:
    """`p 0.004`, `p < 0.001`, `no test`."""
    found = p_value(value)
    return "no test" if found == DASH else f"p {found}"


def counted(num: int, word: str) -> str:
    """`1 seed`, `5 seeds`."""
    return f"{num} {word}" + ("" if num == 1 else "s")
