"""Lets an interruption wait for the end of an optimizer step, so that a state can be kept before it is obeyed."""

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """A context manager: the first Ctrl-C or SIGTERM in it is noted and obeyed by `obey`, a second one at once.

    What is noted and was not obeyed is at the end of the context, whatever else ended it. Outside of the main thread,
    which alone hears signals, it does nothing.
    """

    def __init__(self) -> None:
        self._before: dict[int, Any] = {}
        self._noted: tuple[int, FrameType | None] | None = None

    @property
    def waits(self) -> bool:
        """Whether one is waiting."""
        return self._noted is not None

    def obey(self) -> None:
        """Do what would have been done at once, if one is waiting."""
        if self._noted is None:
            return
        (number, frame), self._noted = self._noted, None
        self._do(number, frame)

    def __enter__(self) -> "Interrupts":
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if (before := signal.getsignal(number)) != signal.SIG_IGN:
                    self._before[number] = before
                    signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)
        self.obey()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._noted is None:
            self._noted = number, frame
        else:
            self._noted = None
            self._do(number, frame)

    def _do(self, number: int, frame: FrameType | None) -> None:
        before = self._before[number]
        if callable(before):
            before(number, frame)
            return
        signal.signal(number, before)
        os.kill(os.getpid(), number)
