"""What a signal means to a job."""

import signal


def terminate_like_interrupt() -> None:
    """Make SIGTERM end a run as Ctrl-C does: KILLED, with what was measured so far kept."""

    def interrupt(_signum: int, _frame: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
