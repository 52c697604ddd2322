"""MLflow's own server as a child of `kd-lab ui`: begun where its port is free, ended with all its processes."""

import errno
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

from kd_lab.errors import UserError

HOST = "127.0.0.1"
LAST_PORT = 65535
PATIENCE_S = 10.0
"""How long the server may take to end once it was told to."""
POLL_S = 0.05


def free_port(given: str) -> int:
    """The number of a port of this machine that nobody listens on.

    Raises:
        UserError: it is none, or cannot be had.
    """
    if not (given.isascii() and given.isdigit() and 0 < int(given) <= LAST_PORT):
        raise UserError(f"port={given}: expected a whole number from 1 to {LAST_PORT}, such as port=5000")
    port = int(given)
    refused = _refused(port)
    if refused is None:
        return port
    why = "another program listens there already" if refused.errno == errno.EADDRINUSE else str(refused.strerror)
    others = (one for one in range(max(port, 1024) + 1, LAST_PORT + 1) if _refused(one) is None)
    raise UserError(f"port={port}: {why}; expected a free one, such as port={next(others, 5000)}")


def _refused(port: int) -> OSError | None:
    """Why nobody can listen there; None where one can."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # what a server that has just ended leaves is free
        try:
            probe.bind((HOST, port))
        except OSError as error:
            return error
    return None


def serve(command: Sequence[str], folder: str, environment: Mapping[str, str]) -> int:
    """Run a server until it ends, or this process is told to: by Ctrl-C, SIGTERM, or the end of its terminal.

    The server is in a session of its own: what a terminal sends reaches this process alone, which ends all of it.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    with subprocess.Popen(command, cwd=folder, env=environment, start_new_session=True) as server:
        try:
            code = server.wait()
            return code if code >= 0 else 1
        except KeyboardInterrupt:
            return 0
        finally:
            _end(server)


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _end(server: "subprocess.Popen[bytes]") -> None:
    """Tell the server and the processes that it started to end, and see to it that they do."""
    deadline = time.monotonic() + PATIENCE_S
    with suppress(ProcessLookupError, KeyboardInterrupt):  # the first: none is left; the second: no more patience
        os.killpg(server.pid, signal.SIGTERM)
        while time.monotonic() < deadline:
            server.poll()
            os.killpg(server.pid, 0)
            time.sleep(POLL_S)
    with suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
