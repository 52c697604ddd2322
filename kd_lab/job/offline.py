"""Whether a command may begin although its server is away (`tracking.offline`)."""

from collections.abc import Mapping, Sequence
from typing import Any

from kd_lab.job.compose import conf_dir
from kd_lab.outside.address import is_server
from kd_lab.store.location import Location


def default_uri() -> str:
    """The local store, of a job that is told nothing."""
    import yaml

    return str(yaml.safe_load((conf_dir() / "tracking" / "local.yaml").read_text())["uri"])


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
