"""How a process of kd-lab ends: by a signal, or when it is done."""

import atexit
import os
import signal
import sys


def terminate_like_interrupt() -> None:
    """Make SIGTERM end a run as Ctrl-C does: KILLED, with what was measured so far kept."""

    def interrupt(_signum: int, _frame: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)


def leave(code: int) -> None:
    """Exit without taking the interpreter apart, which costs 1.8 s once torch, Lightning and MLflow are in it."""
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
