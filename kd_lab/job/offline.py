"""Where the runs go when the server is away as a command starts (`tracking.offline`)."""

from collections.abc import Callable, Sequence
from typing import Any

from kd_lab.job.compose import conf_dir
from kd_lab.store.location import Location


def default_uri() -> str:
    """The local store, of a job that is told nothing."""
    import yaml

    return str(yaml.safe_load((conf_dir() / "tracking" / "local.yaml").read_text())["uri"])


def settle(configs: Sequence[dict[str, Any]], local_uri: str, tell: Callable[[str], None]) -> list[str | None]:
    """Put the local store in the place of a server that is away, in the configs that want it so.

    Returns:
        For each config the server's address if its runs go to the local store; `kd-lab sync` brings them there.

    Raises:
        UserError: a server is away, and nothing may stand in for it.
    """
    away: dict[str, str | None] = {}
    return [_settled(config["tracking"], local_uri, tell, away) for config in configs]


def _settled(
    tracking: dict[str, Any], local_uri: str, tell: Callable[[str], None], away: dict[str, str | None]
) -> str | None:
    server = str(tracking["uri"])
    if not server.startswith(("http://", "https://")):
        return None
    if tracking.get("offline") != "fallback":
        if server not in away:
            Location.parse(server).check()
        away.setdefault(server, None)
        return None
    if server not in away:
        away[server] = _cause(server)
        if away[server] is not None:
            tell(
                f"tracking.uri={server}: the server is away ({away[server]}); runs go to {local_uri}, and "
                "`kd-lab sync` brings them to the server when it is back."
            )
    if away[server] is None:
        return None
    Location.parse(server).remember()
    tracking["uri"] = local_uri
    return server


def _cause(server: str) -> str | None:
    from kd_lab.store.opening import away

    return away(server)
