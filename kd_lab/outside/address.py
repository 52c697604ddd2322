"""The address of a store, and the login in it: `http://USER:PASSWORD@SERVER` is used as basic auth, and never told.

What is handed around, said and written is the address without the login. The login itself is in the environment of this
process and of those that it starts, and put back where a request is made.
"""

import base64
import json
import os
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit
from urllib.request import Request

LOGINS = "KD_LAB_LOGINS"
"""JSON: the login of each server, by scheme, host and port."""


def is_server(uri: str) -> bool:
    """Whether this is the address of a server, and not that of a file."""
    return uri.startswith(("http://", "https://"))


def without_login(uri: str) -> str:
    """The address as it may be told; a login in it is remembered, for `with_login`."""
    if not is_server(uri):
        return uri
    try:
        parts = urlsplit(uri)
    except ValueError:  # no address; who asks there is told
        return uri
    login, at, host = parts.netloc.rpartition("@")
    if at:
        os.environ[LOGINS] = json.dumps(_logins() | {f"{parts.scheme}://{host}": login})
    return urlunsplit(parts._replace(netloc=host)) if at else uri


def with_login(uri: str) -> str:
    """The address as it is asked: requests makes basic auth of the login."""
    login = _login(uri)
    if login is None:
        return uri
    parts = urlsplit(without_login(uri))
    return urlunsplit(parts._replace(netloc=f"{login}@{parts.netloc}"))


def request(uri: str) -> Request:
    """The request for an address, with its login as a header (urllib does not read it from the address)."""
    login = _login(uri)
    asked = Request(without_login(uri))
    if login is not None:
        encoded = base64.b64encode(unquote(login).encode()).decode()
        asked.add_unredirected_header("Authorization", f"Basic {encoded}")
    return asked


def hide_login(config: dict[str, Any]) -> dict[str, Any]:
    """The same config, its `tracking.uri` without the login."""
    tracking = config.get("tracking")
    if isinstance(tracking, dict) and isinstance(tracking.get("uri"), str):
        tracking["uri"] = without_login(tracking["uri"])
    return config


def _login(uri: str) -> str | None:
    clean = without_login(uri)
    logins = _logins() if is_server(clean) else {}
    return next((login for server, login in logins.items() if clean == server or clean.startswith(f"{server}/")), None)


def _logins() -> dict[str, str]:
    found: dict[str, str] = json.loads(os.environ.get(LOGINS, "{}"))
    return found
