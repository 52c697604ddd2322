"""A nested config as MLflow's flat parameters."""

import json
import re
from collections.abc import Mapping

MAX_LENGTH = 6000  # MLflow 3.17 cuts longer values without a word.
MAX_KEY_LENGTH = 250


def flatten(params: Mapping[str, object]) -> dict[str, str]:
    """Dotted names to text: `{"loss": {"weight": 0.9}}` to `{"loss.weight": "0.9"}`.

    Lists stay one JSON text, None is `null` and a bool `true` or `false`, as in the YAML they came from. What is too
    long ends in `...`; the artifact config.yaml has it all.
    """
    flat: dict[str, str] = {}
    _collect("", params, flat)
    return flat


def _collect(prefix: str, params: Mapping[str, object], into: dict[str, str]) -> None:
    for name, value in params.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping) and value:
            _collect(f"{key}.", value, into)
        else:
            into[_legal(key)] = _text(value)


def _legal(key: str) -> str:
    return re.sub(r"[^\w\-. :/]", "_", key)[:MAX_KEY_LENGTH]


def _text(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= MAX_LENGTH else text[: MAX_LENGTH - 3] + "..."
