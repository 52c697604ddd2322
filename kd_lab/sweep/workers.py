"""Processes that run the jobs of a sweep, seen from the process that the user started."""

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from kd_lab.errors import TrainingFailedError
from kd_lab.sweep.states import ENDED, FAILED, JobFolder
from kd_lab.sweep.worker import answer_of

POLL_S = 0.02
GPUS = Path("/proc/driver/nvidia/gpus")
"""Where Linux has a folder for each NVIDIA GPU."""
PATIENCE_S = 60.0
"""How long a worker may take to close its run once it was told to stop."""

START = "import json, sys; sys.path[:] = json.loads(sys.argv.pop(1)); from kd_lab.sweep.worker import main; main()"


class Jobs(Protocol):
    """The jobs that are to be run, one handed out after the other."""

    @property
    def left(self) -> int:
        """How many there are still to be handed out."""

    def next(self) -> tuple[int, Any]:
        """The number and the config of the next one."""

    def ended(self, number: int) -> None:
        """Told once a job that was handed out has ended; its state says how."""


class Grid:
    """Jobs that are all known."""

    def __init__(self, configs: Mapping[int, Any]) -> None:
        self._waiting = deque(configs.items())

    @property
    def left(self) -> int:
        """How many there are still to be handed out."""
        return len(self._waiting)

    def next(self) -> tuple[int, Any]:
        """The number and the config of the next one."""
        return self._waiting.popleft()

    def ended(self, number: int) -> None:
        """Nothing follows from it."""


class Worker:
    """One process, in a session of its own: a terminal's Ctrl-C does not reach it, `stop` does.

    own: what its environment has beside that of this process. place: which of the processes at once it is, from 0.
    """

    def __init__(self, folder: JobFolder, log: Path, own: Mapping[str, str], place: int) -> None:
        self._folder, self._log = folder, log
        self._tasks = 0
        self.number: int | None = None
        self.place = place
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-c", START, json.dumps(sys.path), str(os.getpid())],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                env={**os.environ, **own},
                start_new_session=True,
            )

    def give(self, *task: Any) -> Path:
        """Hand over a task; the file where its answer will be, if it has one."""
        assert self._process.stdin is not None
        self._tasks += 1
        file = self._log.with_name(f"{self._log.name}-task-{self._tasks}")
        file.write_bytes(pickle.dumps(task))
        try:
            self._process.stdin.write(f"{file}\n".encode())
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended, which `ended` tells
        return answer_of(file)

    def ended(self) -> str | None:
        """Why the process is gone, if it is."""
        code = self._process.poll()
        if code is None:
            return None
        last = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
        if code >= 0:
            return f"its process ended with exit code {code}{': ' if last else ''}{''.join(last)}"
        hint = ", as the system does when memory runs out" if code == -signal.SIGKILL else ""
        return f"its process was ended by {signal.Signals(-code).name}{hint}"

    def ask_to_end(self, *, now: bool) -> None:
        """Now: as if interrupted; else after its task."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        if now and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def wait(self, seconds: float) -> None:
        """Wait for its end, and make one where it does not come."""
        try:
            self._process.wait(max(0.0, seconds))
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End it and all processes that it started."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


class Workers:
    """Up to `most` processes at once; `with Workers(...) as workers:` ends them, whatever happens."""

    def __init__(self, folder: JobFolder, most: int) -> None:
        self.folder = folder
        self._most = most
        self._started = 0
        self._all: list[Worker] = []

    def ask(self, *task: Any) -> Any:
        """A task's answer, from a process that is kept for what comes next.

        Raises:
            TrainingFailedError: its process ended before it answered.
        """
        worker = next((one for one in self._all if one.number is None), None) or self.start()
        answer = worker.give(*task)
        while not answer.exists():
            reason = worker.ended()
            if reason is not None:
                raise TrainingFailedError(f"the jobs could not be looked at: {reason}")
            time.sleep(POLL_S)
        return pickle.loads(answer.read_bytes())

    def run(self, jobs: Jobs) -> None:
        """Run the jobs; each one's state says how it went."""
        at_once = min(self._most, jobs.left)
        while len(self._all) < at_once:
            self.start()
        try:
            self._run(jobs, at_once)
        except BaseException:
            self.close(now=True)
            raise

    def _run(self, jobs: Jobs, at_once: int) -> None:
        while jobs.left or any(worker.number is not None for worker in self._all):
            for worker in list(self._all):
                self._look_after(worker, jobs)
            for worker in self._all:
                if worker.number is None and jobs.left:
                    worker.number, config = jobs.next()
                    worker.give("job", worker.number, config, at_once)
            time.sleep(POLL_S)

    def _look_after(self, worker: Worker, jobs: Jobs) -> None:
        """Note the end of its job; put another in its place if it is gone."""
        reason = worker.ended()  # before the state: what it wrote last is there then
        if worker.number is not None and self.folder.read(worker.number).state in ENDED:
            jobs.ended(worker.number)
            worker.number = None
        if reason is None:
            return
        if worker.number is not None:
            self.folder.change(worker.number, state=FAILED, ended=time.time(), reason=reason, code=1, lost=True)
            jobs.ended(worker.number)
        self._all.remove(worker)
        self.start()

    def start(self) -> Worker:
        """One process more; it takes seconds until it can do anything, so that an early start is worth it."""
        self._started += 1
        log = self.folder.path / f"worker-{self._started}"
        place = min(set(range(self._most)) - {worker.place for worker in self._all})
        self._all.append(Worker(self.folder, log, share(self._most, place), place))
        return self._all[-1]

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close(now=kind is not None)

    def close(self, *, now: bool = False) -> None:
        """End the processes: now, as if interrupted, or when they have done what they are doing."""
        try:
            for worker in self._all:
                worker.ask_to_end(now=now)
            deadline = time.monotonic() + PATIENCE_S
            for worker in self._all:
                worker.wait(deadline - time.monotonic())
        finally:  # a second Ctrl-C: no more patience
            for worker in self._all:
                worker.kill()
            self._all.clear()


def share(jobs: int, place: int) -> dict[str, str]:
    """What of this machine one of so many processes at once has, as variables of its environment: threads, and one GPU.

    place: which of them it is, from 0; where there are fewer GPUs than processes, several have the same.
    """
    threads, gpus = threads_each(jobs), visible_gpus()
    own = {} if threads is None else {"OMP_NUM_THREADS": str(threads)}
    if jobs > 1 and gpus:
        own["CUDA_VISIBLE_DEVICES"] = gpus[place % len(gpus)]
    return own


def visible_gpus() -> list[str]:
    """The CUDA devices of this process, as CUDA_VISIBLE_DEVICES names them; to ask torch would take seconds."""
    told = os.environ.get("CUDA_VISIBLE_DEVICES")
    if told is not None:
        return [name.strip() for name in told.split(",") if name.strip()]
    return [str(number) for number, _ in enumerate(GPUS.iterdir())] if GPUS.is_dir() else []


def threads_each(jobs: int) -> int | None:
    """The threads of each of so many processes; None, the library's own choice, for one.

    Two jobs with two threads each on two cores take ten times as long as one after the other: OpenMP's threads wait
    for one another without letting go of the core.
    """
    if jobs == 1:
        return None
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    share = max(1, cores // jobs)
    given = os.environ.get("OMP_NUM_THREADS", "")
    return min(share, int(given)) if given.isdigit() and int(given) else share
