"""Processes that the nursery forks for others: what asked for one sees what `subprocess` would show it.

Workers of a sweep, and the ranks of torchrun (`tests.integration.rank`). The parent of such a process is a guardian,
which ends when what asked for it does, however that ends: a worker sees that, a rank ends with it.
"""

import json
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import SimpleNamespace
from typing import Any, BinaryIO
from unittest.mock import patch

POLL_S = 0.02
LARGEST = 1 << 20
LIMIT = "KD_LAB_ATTACK_LIMIT"
"""How many bytes a file of a command may have, where it is in the environment."""


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
def forked_by(door: Callable[[], str]) -> Iterator[None]:
    """Have sweeps of this process take their workers from the nursery behind this door, which is asked for then."""

    def start(arguments: Sequence[str], **settings: Any) -> Forked:
        return Forked(door(), arguments, **settings)

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
    """Be the parent of a process, to the end of it or of the one that asked for it."""
    os.setsid()
    message, files, _, _ = socket.recv_fds(front, LARGEST, 3)
    asked = json.loads(message)
    is_command = "arguments" in asked
    if (pid := os.fork()) == 0:
        front.close()
        command(asked, files, asked["environment"]) if is_command else _work(asked, files)
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
            if is_command:
                os.kill(pid, signal.SIGKILL)
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


def command(task: Mapping[str, Any], files: Sequence[int], environment: Mapping[str, str]) -> None:
    """Be the process of a command, to its end. files: its input, output and error."""
    os.setsid()
    os.chdir(task["cwd"])
    for number, file in enumerate(files):
        os.dup2(file, number)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    os.environ.clear()
    os.environ.update(environment)
    if LIMIT in os.environ:
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(os.environ[LIMIT]), resource.RLIM_INFINITY))
    tempfile.tempdir = None
    sys.argv = ["kd-lab", *task["arguments"]]
    code = 1
    try:
        from kd_lab.cli.main import main

        with forked_by(lambda: str(task["door"])):
            main()
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 1
    except BaseException as error:
        traceback.print_exc()
        if isinstance(error, KeyboardInterrupt):  # as the interpreter ends
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGINT)
    with suppress(OSError, ValueError):
        sys.stdout.flush()
    os._exit(code)
