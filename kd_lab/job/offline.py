"""Which store a command uses where it is told none, and whether it may begin although its server is away."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from kd_lab.errors import masked
from kd_lab.outside.address import is_server
from kd_lab.store.location import LOCAL, Location


def other_store(uri: str) -> str | None:
    """A sentence on a store that the environment names, where it is not the one that a command uses unasked."""
    named = os.environ.get("MLFLOW_TRACKING_URI")
    if not named or named == uri or uri != LOCAL:
        return None
    return masked(
        f"MLFLOW_TRACKING_URI={named} is set and not used: the store is {uri}; tracking.uri={named} takes that one"
    )


def check_servers(configs: Sequence[Mapping[str, Any]]) -> None:
    """Ask each server once, before anything is loaded, whether it is there.

    Raises:
        UserError: it is not, and the runs are not to be kept here meanwhile (tracking.offline=fallback).
    """
    settings = [config["tracking"] for config in configs]
    needed = {str(one["uri"]) for one in settings if one.get("offline") != "fallback"}
    for uri in sorted(needed):
        if is_server(uri):
            Location.parse(uri).check()
