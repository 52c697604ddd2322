"""Starts `kd-lab` commands in processes of their own: forked from one that has imported all that a job needs.

Importing torch, Lightning and MLflow takes longer than the small jobs that are attacked. A forked process runs the
command's own `main`, with its own folder, environment, signals and output, and ends as the interpreter would; a cold
one is started by the interpreter, imports and all. The workers of a forked command's sweep are forked in the same way
(`tests.integration.workers`), those of a cold one are not.
"""

import importlib
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

COMMAND = "from kd_lab.cli.main import main; main()"
WARM_UP = ["dataset=synthetic", "teacher=mlp", "teacher.recipe.steps=2", "student.recipe.steps=2"]
WARM_UP += ["measure.latency_runs=1", "measure.latency_warmup=1"]
HEAVY = (
    "kd_lab.",
    "torch",
    "pytorch_lightning.",
    "mlflow.",
    "sqlalchemy.",
    "alembic.",
    "sklearn.",
    "pandas.",
    "matplotlib.",
)
"""How the names begin of what is imported before."""
POLL_S = 0.01
ENVIRONMENT = os.environ | {
    "OMP_NUM_THREADS": "1",
    "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, sys.path)]),
}
"""Of the processes, as this module was imported: whatever a test does to its own."""


@dataclass
class Process:
    """One command that was started. code: what it ended with, a signal's number negative, as subprocess has it."""

    pid: int
    folder: Path
    number: int
    nursery: "Nursery"
    code: int | None = None

    def wait(self, seconds: float) -> int | None:
        """Its exit code; None where it goes on after so many seconds."""
        deadline = time.monotonic() + seconds
        while self.code is None:
            self.code = self.nursery.ended(self.pid)
            if self.code is None and time.monotonic() > deadline:
                return None
            time.sleep(POLL_S)
        return self.code

    def signal(self, number: int, *, group: bool = False) -> None:
        """Send it a signal; group: also to all processes of its session."""
        with suppress(ProcessLookupError):
            (os.killpg if group else os.kill)(self.pid, number)

    @property
    def said(self) -> str:
        """Standard error and output."""
        return self.complained + self.printed

    @property
    def printed(self) -> str:
        """Standard output alone."""
        return (self.folder / f"said-{self.number}-out.txt").read_text(errors="replace")

    @property
    def complained(self) -> str:
        """Standard error alone."""
        return (self.folder / f"said-{self.number}-err.txt").read_text(errors="replace")


class Nursery:
    """A process that forks; see the module. door: the socket where it is asked for workers."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self.door = str(Path(self._folder.name) / "door")
        self._forks = subprocess.Popen(
            [sys.executable, "-P", __file__, self.door],
            cwd=self._folder.name,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=ENVIRONMENT,
            start_new_session=True,
        )
        self._cold: dict[int, subprocess.Popen[bytes]] = {}
        self._count = 0
        self._ask()  # ready

    def start(
        self, arguments: Sequence[str], cwd: Path, said: Path, environment: dict[str, str], *, cold: bool = False
    ) -> Process:
        """Begin a command. cwd: where it stands. said: the folder of what it prints. environment: beside this one's."""
        self._count += 1
        files = [str(said / f"said-{self._count}-{name}.txt") for name in ("out", "err")]
        if cold:
            with open(files[0], "wb") as out, open(files[1], "wb") as err:
                started = subprocess.Popen(
                    [sys.executable, "-P", "-c", COMMAND, *arguments],
                    cwd=cwd,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=err,
                    env=ENVIRONMENT | environment,
                    start_new_session=True,
                )
            self._cold[started.pid] = started
            return Process(started.pid, said, self._count, self)
        asked = {"arguments": list(arguments), "cwd": str(cwd), "files": files, "environment": environment}
        asked["door"] = self.door
        return Process(int(self._ask(asked)), said, self._count, self)

    def ended(self, pid: int) -> int | None:
        """The exit code, once it has ended."""
        if pid in self._cold:
            return self._cold[pid].poll()
        code = self._ask({"pid": pid})
        return None if code is None else int(code)

    def close(self) -> None:
        """End the process that forks."""
        assert self._forks.stdin is not None
        self._forks.stdin.close()
        self._forks.wait()
        self._folder.cleanup()

    def _ask(self, question: dict[str, Any] | None = None) -> Any:
        assert self._forks.stdin is not None
        assert self._forks.stdout is not None
        if question is not None:
            self._forks.stdin.write(json.dumps(question) + "\n")
            self._forks.stdin.flush()
        return json.loads(self._forks.stdout.readline())


def _command(task: dict[str, Any]) -> None:
    """Be the process of a command, to its end."""
    from tests.integration import workers

    printed = [os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600) for file in task["files"]]
    workers.command(task, [os.open(os.devnull, os.O_RDONLY), *printed], os.environ | task["environment"])


def _fork(task: dict[str, Any]) -> int:
    if (pid := os.fork()) == 0:
        _command(task)
    return pid


def _import_all() -> None:
    """All modules that a small job, and what follows it, have at their end: told by a process that has done one."""
    import kd_lab.job.job
    import kd_lab.sweep.trial

    with tempfile.TemporaryDirectory() as folder:
        listed = Path(folder) / "modules"
        if (pid := os.fork()) == 0:
            os.chdir(folder)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            import kd_lab.sweep.multirun
            import kd_lab.sweep.summary  # noqa: F401
            from kd_lab.cli.main import _main

            _main(WARM_UP)
            listed.write_text("\n".join(name for name in sys.modules if name.startswith(HEAVY)))
            os._exit(0)
        os.waitpid(pid, 0)
        for name in listed.read_text().splitlines():
            with suppress(Exception):
                importlib.import_module(name)


def _serve(door: str) -> None:
    _import_all()
    from tests.integration import workers

    codes: dict[int, int] = {}
    listening = workers.listen(door)
    print(json.dumps("ready"), flush=True)
    while True:
        if listening in select.select([sys.stdin, listening], [], [])[0]:
            workers.fork(listening)
            continue
        if not (line := os.read(0, 1 << 20)):
            return
        task = json.loads(line)
        if "pid" not in task:
            print(json.dumps(_fork(task)), flush=True)
            continue
        with suppress(ChildProcessError):
            pid, status = os.waitpid(task["pid"], os.WNOHANG)
            if pid:
                codes[pid] = os.waitstatus_to_exitcode(status)
        print(json.dumps(codes.get(task["pid"])), flush=True)


if __name__ == "__main__":
    _serve(sys.argv[1])
