"""How a process of kd-lab ends: by a signal, or when it is done."""

import atexit
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable
from types import FrameType

PATIENCE_S = 2.0
"""Who hits Ctrl-C once more so soon meant the end that is on its way."""
CAUSES = {
    "SIGTERM": "ended by SIGTERM, as `kill`, a queue at its time limit or a system that goes down sends it",
    "SIGHUP": "ended by SIGHUP: its terminal was closed",
}
"""In words, by the name of the signal; of Ctrl-C the run itself has them."""


def end_like_interrupt() -> None:
    """Make SIGTERM and SIGHUP end a run as Ctrl-C does: KILLED, with what was measured so far kept, and the cause told.

    What is ignored stays so: `nohup` is how one says that the end of the terminal shall end nothing.
    """
    _hear(CAUSES, _interrupt)


def cause(number: int) -> str:
    """Why a signal ended it."""
    name = signal.Signals(number).name
    return CAUSES.get(name, f"ended by {name}")


def _interrupt(number: int, _frame: object) -> None:
    raise KeyboardInterrupt(cause(number))


def end_in_peace(code: int) -> None:
    """All is said, or is about to be: further signals change nothing, unless the end takes long; then it is now."""
    began = time.monotonic()

    def hear(_number: int, _frame: object) -> None:
        if time.monotonic() - began > PATIENCE_S:
            os._exit(code)

    _hear(("SIGINT", *CAUSES), hear)


def _hear(names: Iterable[str], handler: Callable[[int, FrameType | None], None]) -> None:
    """Have signals handled, but for those that are ignored."""
    for name in names:
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


def leave(code: int) -> None:
    """Exit without taking the interpreter apart, which costs 1.8 s once torch, Lightning and MLflow are in it."""
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
