"""Workers of a sweep that are forked by the nursery: the process in front of them sees what `subprocess` would show it.

A worker's parent is a guardian, which ends when the process in front does, however that ends; the worker sees that.
"""

import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import SimpleNamespace
from typing import Any, BinaryIO
from unittest.mock import patch

POLL_S = 0.02
LARGEST = 1 << 20


class Forked:
    """As much of `subprocess.Popen` as `kd_lab.sweep.workers` uses."""

    def __init__(
        self, door: str, arguments: Sequence[str], *, stdout: BinaryIO, env: Mapping[str, str], **_: Any
    ) -> None:
        path = json.loads(arguments[3])
        asked = {"path": path, "environment": dict(env), "cwd": os.getcwd()}
        reading, writing = os.pipe()
        self._code: int | None = None
        self._guardian = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._guardian.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, LARGEST)
        self._guardian.connect(door)
        socket.send_fds(self._guardian, [json.dumps(asked).encode()], [reading, stdout.fileno()])
        os.close(reading)
        self.stdin = os.fdopen(writing, "wb")
        self.pid = int(self._guardian.recv(LARGEST))

    def poll(self) -> int | None:
        """Its exit code, once it has ended."""
        if self._code is None and select.select([self._guardian], [], [], 0)[0]:
            self._code = int(self._guardian.recv(LARGEST))
        return self._code

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code."""
        if self._code is None and not select.select([self._guardian], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired("worker", timeout or 0.0)
        code = self.poll()
        assert code is not None
        return code

    def send_signal(self, number: int) -> None:
        """Only to the process itself."""
        os.kill(self.pid, number)


@contextmanager
def forked_by(door: str) -> Iterator[None]:
    """Have sweeps of this process take their workers from the nursery behind this door."""

    def start(arguments: Sequence[str], **settings: Any) -> Forked:
        return Forked(door, arguments, **settings)

    instead = SimpleNamespace(Popen=start, PIPE=subprocess.PIPE, TimeoutExpired=subprocess.TimeoutExpired)
    with patch("kd_lab.sweep.workers.subprocess", instead):
        yield


def listen(door: str) -> socket.socket:
    """Be asked for workers there."""
    found = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    found.bind(door)
    found.listen()
    return found


def fork(listening: socket.socket) -> None:
    """Answer the next one that asks for a worker."""
    front, _ = listening.accept()
    if (child := os.fork()) == 0:
        listening.close()
        if os.fork():  # the guardian has no parent that would have to ask for its end
            os._exit(0)
        _guard(front)
    front.close()
    os.waitpid(child, 0)


def _guard(front: socket.socket) -> None:
    """Be the parent of a worker, to the end of it or of the process that asked for it."""
    os.setsid()
    message, files, _, _ = socket.recv_fds(front, LARGEST, 2)
    if (pid := os.fork()) == 0:
        front.close()
        _work(json.loads(message), files)
    for file in (0, 1, *files):
        os.close(file)
    front.send(str(pid).encode())
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            with suppress(OSError):
                front.send(str(os.waitstatus_to_exitcode(status)).encode())
            os._exit(0)
        if select.select([front], [], [], POLL_S)[0]:  # it never says anything: that was its end
            os._exit(0)


def _work(asked: Mapping[str, Any], files: Sequence[int]) -> None:
    """Be the worker, as `kd_lab.sweep.workers.START` has it."""
    guardian = os.getppid()
    os.setsid()
    os.chdir(asked["cwd"])
    for number, file in ((0, files[0]), (1, files[1]), (2, files[1])):
        os.dup2(file, number)
    for file in files:
        os.close(file)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(asked["environment"])
    sys.path[:], sys.argv = asked["path"], ["-c", str(guardian)]
    from kd_lab.sweep.worker import main

    main()
