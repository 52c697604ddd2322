"""What conf/tuned brings with a dataset, and with a loss on it: settings that nobody typed, named wherever they act."""

from collections.abc import Iterator, Mapping
from typing import Any

from kd_lab import names

OF_BASELINE = "baseline."
OF_TERM = "loss.terms."


def in_effect(brought: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """The tuned settings, by key, that the config still has: what a user says otherwise is not tuned.

    Args:
        brought: the files of conf/tuned, composed.
        config: the whole config, resolved.
    """
    return {key: value for key, value in _leaves(brought) if _at(config, key) == value and not _said(config, key)}


def _leaves(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in node.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _at(config: Any, key: str) -> Any:
    for name in key.split("."):
        config = config.get(name) if isinstance(config, Mapping) else None
    return config


def _said(config: Mapping[str, Any], key: str) -> bool:
    """Whether `loss.temperature`, short for that of the only loss, takes the place of a tuned one."""
    return key.startswith(OF_TERM) and config["loss"].get(key.rsplit(".", 1)[-1]) is not None


def of_role(tuned: Mapping[str, Any], role: str) -> str:
    """What of it made a network: `temperature=2 weight=1 hard_weight=0`."""
    prefixes = {names.BASELINE: OF_BASELINE, names.STUDENT: OF_TERM, names.TRIAL: OF_TERM}
    own = prefixes.get(role)
    return _short({key: value for key, value in tuned.items() if own is not None and key.startswith(own)})


def sentence(tuned: Mapping[str, Any], dataset: str) -> str:
    """What is tuned for this dataset, and how it is left out."""
    parts = []
    for called, prefix, without in (("loss", OF_TERM, "tuned/loss=none"), ("student alone", OF_BASELINE, "tuned=none")):
        own = {key: value for key, value in tuned.items() if key.startswith(prefix)}
        if own:
            which = next(iter(own)).split(".")[2] if prefix == OF_TERM else called
            parts.append(f"{which} {_short(own)} ({without} leaves it out)")
    return f"tuned for {dataset}: {'; '.join(parts)}"


def _short(settings: Mapping[str, Any]) -> str:
    return " ".join(
        f"{key.rsplit('.', 1)[-1]}={value:g}" if isinstance(value, float) else f"{key.rsplit('.', 1)[-1]}={value}"
        for key, value in settings.items()
    )
