"""A process that runs jobs of a sweep, one after the other, until there are no more.

Each line that it reads names a file with a pickled task: `("job", number, config, jobs at once)`, or a question,
`("settle", configs, sweep)`, `("find", configs)` or `("check", configs, rounds)`, whose answer is written beside it. It
ends with its parent, however that ends; the job that it does then is KILLED.
"""

import gc
import os
import pickle
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from kd_lab.sweep.endings import cause, leave

CHECK_PARENT_S = 0.5
OF_SWEEP = "its sweep was interrupted, or its process was ended (SIGTERM)"


def main() -> None:
    """Read tasks from standard input."""
    parent = int(sys.argv[1])
    for number in (signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])):
        signal.signal(number, _stop)
    threading.Thread(target=_follow, args=(parent,), daemon=True).start()
    code = 0
    try:
        _import()
        for line in sys.stdin:
            _do(Path(line.strip()))
    except KeyboardInterrupt:
        code = 130
    leave(code)


def _stop(number: int, _frame: object) -> None:
    """End as interrupted, once: while a run is being closed as KILLED a second signal would spoil it."""
    if not _stopping.is_set():
        _stopping.set()
        raise KeyboardInterrupt(OF_SWEEP if number == signal.SIGTERM else cause(number))


_stopping = threading.Event()


def _follow(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(CHECK_PARENT_S)
    os.kill(os.getpid(), signal.SIGTERM)


def _import() -> None:
    """All that a job needs, before there is one."""
    gc.disable()  # see `starting` in kd_lab.cli.commands
    import kd_lab.sweep.found
    import kd_lab.sweep.member
    import kd_lab.sweep.trial  # noqa: F401

    gc.enable()


def _do(file: Path) -> None:
    from kd_lab.sweep.found import found_jobs, settled
    from kd_lab.sweep.member import run_member
    from kd_lab.sweep.trial import check_trials

    kind, *task = pickle.loads(file.read_bytes())
    if kind == "find":
        _answer(file, found_jobs(*task))
    elif kind == "settle":
        _answer(file, settled(*task))
    elif kind == "check":
        _answer(file, check_trials(*task))
    else:
        number, config, at_once = task
        run_member(config, number, at_once)


def answer_of(file: Path) -> Path:
    """Where the answer to the task in this file is."""
    return file.with_name(f"{file.name}.answer")


def _answer(file: Path, answer: Any) -> None:
    part = file.with_name(f"{file.name}.part")
    part.write_bytes(pickle.dumps(answer))
    part.replace(answer_of(file))
