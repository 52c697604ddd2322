"""Lets an interruption wait for the end of an optimizer step, so that a state can be kept before it is obeyed."""

import os
import signal
import threading
from multiprocessing import get_context
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Shared:
    """What the processes of one training, and the one that started them, say to each other without waiting.

    In shared memory; it goes to a process as that is started, and in no other way.
    """

    def __init__(self) -> None:
        context = get_context("spawn")
        self._at_work, self._wanted = context.RawValue("b"), context.RawValue("b")
        self._step = context.RawValue("q")

    @property
    def is_at_work(self) -> bool:
        """Whether they train, and hear what is wanted of them."""
        return bool(self._at_work.value)

    def begin(self) -> None:
        """They do from now on."""
        self._at_work.value = 1

    @property
    def is_wanted(self) -> bool:
        """Whether they are to keep a state and end, because one of them was interrupted."""
        return bool(self._wanted.value)

    def want(self) -> None:
        """They are."""
        self._wanted.value = 1

    @property
    def step(self) -> int:
        """After which step all of them keep a state together; 0: after none yet.

        The first process says so after the step before. No other one can be further by then: none is through with the
        backward pass of a step before all have begun it.
        """
        return int(self._step.value)

    @step.setter
    def step(self, step: int) -> None:
        self._step.value = step


class Interrupts:
    """A context manager: the first Ctrl-C or SIGTERM in it is noted and obeyed by `obey`, a second one at once.

    What is noted and was not obeyed is at the end of the context, whatever else ended it. Outside of the main thread,
    which alone hears signals, it does nothing.

    Args:
        shared: where several processes train for this one. It pickles: in each of them it is a context of its own, and
            what one of them notes is noted by all.
    """

    def __init__(self, shared: Shared | None = None) -> None:
        self.shared = shared
        self._started = False
        """Whether this is one of the processes that were started."""
        self._before: dict[int, Any] = {}
        self._noted: tuple[int, FrameType | None] | None = None

    def __reduce__(self) -> tuple[type["Interrupts"], tuple[Shared | None], dict[str, bool]]:
        return type(self), (self.shared,), {"_started": True}

    @property
    def waits(self) -> bool:
        """Whether one is waiting."""
        return self._noted is not None or (self.shared is not None and self.shared.is_wanted)

    def obey(self) -> None:
        """Do what would have been done at once, if one is waiting."""
        if self._started and self.waits:
            raise KeyboardInterrupt
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
        waits = self.shared is None or self.shared.is_at_work
        if self._noted is None and waits:
            self._noted = number, frame
            if self.shared is not None:
                self.shared.want()
        else:
            self._noted = None
            self._do(number, frame)

    def _do(self, number: int, frame: FrameType | None) -> None:
        if self._started:  # what stands before is Lightning's, which has all processes meet in the middle of a step
            raise KeyboardInterrupt
        before = self._before[number]
        if callable(before):
            before(number, frame)
            return
        signal.signal(number, before)
        os.kill(os.getpid(), number)
