"""Where the runs go when the server is away as a job starts (`tracking.offline`)."""

import os
from collections.abc import Callable
from typing import Any

STANDS_IN = "KD_LAB_STANDS_IN"
"""The server that this command does without; all jobs of a sweep then go to the same store."""


def settle(config: dict[Any, Any], local_uri: str, tell: Callable[[str], None]) -> str | None:
    """Put the local store in the place of a server that is away, if the config wants it so.

    Returns:
        The server's address if the runs go to the local store instead; `kd-lab sync` brings them there.
    """
    tracking = config["tracking"]
    server = str(tracking["uri"])
    if tracking.get("offline") != "fallback" or not server.startswith("http"):
        return None
    if os.environ.get(STANDS_IN) != server:
        from kd_lab.tracking.opening import away

        if (cause := away(server)) is None:
            return None
        os.environ[STANDS_IN] = server
        tell(
            f"tracking.uri={server}: the server is away ({cause}); runs go to {local_uri}, and `kd-lab sync` brings "
            "them to the server when it is back."
        )
    tracking["uri"] = local_uri
    return server
