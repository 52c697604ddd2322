"""Trainings that the processes which torchrun started do together, on one machine or several.

The first one runs the whole job, opens runs, measures and tells. The others wait for trainings. A training is handed to
all of them as bytes, through the store that torchrun keeps; each of them, the first too, starts a process for it, and
these train together as those that `trainer=ddp` starts on one machine. Whoever can reach torchrun's port can run code
in all of them.
"""

import json
import os
import pickle
import signal
import sys
import time
import uuid
from contextlib import suppress
from datetime import timedelta
from types import FrameType
from typing import Any

from torch.distributed import DistError, PrefixStore, TCPStore  # type: ignore[attr-defined]
from torch.multiprocessing.spawn import (
    ProcessContext,
    ProcessException,
    ProcessExitedException,
    ProcessRaisedException,
    start_processes,
)

from kd_lab.outside.torchrun import Place
from kd_lab.training.interrupts import Shared

PIECE = 1 << 24
POLL_S = 0.1
GRACE_S = 10.0
"""How long a process may take to end by itself, or its true reason to arrive, once another one has failed."""
STORE_S = timedelta(seconds=300)


class Ranks:
    """What these processes tell one another. place: of this one."""

    def __init__(self, place: Place) -> None:
        self.place = place
        store = TCPStore(place.host, place.port, is_master=False, timeout=STORE_S, wait_for_workers=False)
        self._store = PrefixStore(f"kd-lab/{place.attempt}", store)

    def publish(self, training: bytes) -> int:
        """Hand a training to all others; its number."""
        number = self._store.add("trainings", 1)
        pieces = range(0, len(training), PIECE)
        for i, start in enumerate(pieces):
            self._store.set(f"{number}/{i}", training[start : start + PIECE])  # type: ignore[arg-type]
        self._store.set(f"{number}/pieces", str(len(pieces)))
        self._store.set("newest", str(number))
        return number

    def newest(self) -> int:
        """The number of the training that was published last; 0 before the first."""
        return int(self._store.get("newest")) if self._store.check(["newest"]) else 0

    def training(self, number: int) -> bytes:
        """What was published."""
        pieces = int(self._store.get(f"{number}/pieces"))
        return b"".join(self._store.get(f"{number}/{i}") for i in range(pieces))

    def forget(self, number: int) -> None:
        """Let go of a training that is over."""
        for i in range(int(self._store.get(f"{number}/pieces"))):
            self._store.delete_key(f"{number}/{i}")

    def fail(self, number: int, error: ProcessException | None) -> None:
        """Tell that a process of this training has failed, and of what; None: it is to end."""
        kind = "exited" if isinstance(error, ProcessExitedException) else "raised"
        told = "KeyboardInterrupt" if error is None else str(error)
        self._store.set(f"{number}/failed", json.dumps([kind, told]))

    def failed(self, number: int) -> ProcessException | None:
        """What a process of this training failed of, if one did."""
        if not self._store.check([f"{number}/failed"]):
            return None
        kind, told = json.loads(self._store.get(f"{number}/failed"))
        return ProcessExitedException(told, 0, 0, 1) if kind == "exited" else ProcessRaisedException(told, 0, 0)

    def end(self) -> None:
        """Tell that there is nothing more to train."""
        self._store.set("end", "1")

    @property
    def has_ended(self) -> bool:
        """Whether there is nothing more to train."""
        return bool(self._store.check(["end"]))


class Told(Shared):
    """As `Shared`, through torchrun's store, so that it reaches the processes of other machines. It pickles."""

    def __init__(self, place: Place, training: str) -> None:
        self._place, self._training = place, training
        self._store: PrefixStore | None = None

    def __reduce__(self) -> tuple[type["Told"], tuple[Place, str]]:
        return type(self), (self._place, self._training)

    @property
    def is_at_work(self) -> bool:
        """See `Shared`."""
        return self._has("at work")

    def begin(self) -> None:
        """See `Shared`."""
        self._opened().set("at work", "1")

    @property
    def is_wanted(self) -> bool:
        """See `Shared`."""
        return self._has("wanted")

    def want(self) -> None:
        """See `Shared`."""
        self._opened().set("wanted", "1")

    @property
    def step(self) -> int:
        """See `Shared`."""
        return int(self._opened().get("step")) if self._has("step") else 0

    @step.setter
    def step(self, step: int) -> None:
        self._opened().set("step", str(step))

    def _has(self, key: str) -> bool:
        return bool(self._opened().check([key]))

    def _opened(self) -> PrefixStore:
        if self._store is None:
            place = self._place
            store = TCPStore(place.host, place.port, is_master=False, timeout=STORE_S, wait_for_workers=False)
            self._store = PrefixStore(f"kd-lab/{place.attempt}/{self._training}", store)
        return self._store


def shared(processes: int, place: Place | None) -> Shared | None:
    """What the processes of a training say to each other, where there are several. place: None without torchrun."""
    if processes == 1:
        return None
    return Shared() if place is None else Told(place, uuid.uuid4().hex)


def train(training: bytes, results: Any) -> ProcessContext:
    """Start the process of this rank: it calls what the bytes hold with `results`, a queue or None."""
    context: ProcessContext = start_processes(  # type: ignore[no-untyped-call]
        _train, args=(training, results), nprocs=1, start_method="spawn", join=False
    )
    return context


def packed(call: Any, *, port: int) -> bytes:
    """What each rank is to do: `call(results)`, meeting the others at this port of the first one's machine."""
    return pickle.dumps((sys.path, port, pickle.dumps(call)))


def _train(_index: int, training: bytes, results: Any) -> None:
    path, port, call = pickle.loads(training)
    sys.path[:] = path
    os.environ |= {"MASTER_PORT": str(port), "TORCHELASTIC_USE_AGENT_STORE": "False"}
    pickle.loads(call)(results)


def follow(ranks: Ranks, number: int, process: ProcessContext) -> None:
    """Wait for the end of this rank's process.

    Raises:
        ProcessException: it failed, or that of another rank did and this one was ended; the others are told.
    """
    try:
        while not process.join(POLL_S):
            if (error := ranks.failed(number)) is not None:
                _end(process)
                raise error
    except ProcessException as error:
        # A process whose peer is gone fails of that, and the peer has yet to say why it went.
        deadline = time.monotonic() + (GRACE_S if "by peer" in str(error) else 0.0)
        while (told := ranks.failed(number)) is None and time.monotonic() < deadline:
            time.sleep(POLL_S)
        if told is not None:
            raise told from error
        ranks.fail(number, error)
        raise
    except BaseException:
        ranks.fail(number, None)
        raise


def _end(process: ProcessContext) -> None:
    """Let it end by itself, or end it."""
    for one in process.processes:
        one.join(GRACE_S)
        if one.is_alive():
            one.kill()


class Stop:
    """From now on the first signal to end is noted, and the second one ends at once."""

    def __init__(self) -> None:
        self.came = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._note)

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        if self.came:
            raise KeyboardInterrupt
        self.came = True


def serve(place: Place) -> int:
    """Train with the first process whenever it wants to, until it ends; the exit code.

    What goes wrong is told by the first one.
    """
    stop, done = Stop(), 0
    with suppress(DistError, RuntimeError):  # torchrun's store is gone, and all else with it
        ranks = Ranks(place)
        while not stop.came and not ranks.has_ended:
            if (number := ranks.newest()) > done:
                done = number
                _serve(ranks, number)
            time.sleep(POLL_S)
    return 130 if stop.came else 0


def _serve(ranks: Ranks, number: int) -> None:
    process = train(ranks.training(number), None)
    try:
        follow(ranks, number, process)
    except ProcessException:
        pass
    finally:
        for one in process.processes:
            one.kill()
