"""The first signal waits for the end of a step, the second does not."""

import os
import signal
import threading
from collections.abc import Callable, Iterator

import pytest

from kd_lab.training.interrupts import Interrupts, Shared


def send(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.fixture(autouse=True)
def _as_the_command_line_has_it() -> Iterator[None]:
    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, interrupt)
    yield
    signal.signal(signal.SIGTERM, before)


def reached(*acts: Callable[[Interrupts], object], within: Interrupts | None = None) -> int:
    """How many of some acts are done in a context, which a KeyboardInterrupt must end."""
    count, ended = 0, False
    try:
        with within or Interrupts() as interrupts:
            for act in acts:
                act(interrupts)
                count += 1
    except KeyboardInterrupt:
        ended = True
    assert ended
    return count


def fails(_: Interrupts) -> None:
    raise RuntimeError("DataLoader worker (pid 1) exited unexpectedly")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupts__wait_until_obeyed(number: int) -> None:
    seen: list[bool] = []
    acts = [lambda i: i.obey(), lambda _: send(number), lambda i: seen.append(i.waits), lambda i: i.obey()]
    assert reached(*acts, lambda _: None) == 3
    assert seen == [True]


def test_interrupts__a_second_one_is_obeyed_at_once() -> None:
    assert reached(lambda _: send(signal.SIGINT), lambda _: send(signal.SIGTERM), lambda _: None) == 1


def test_interrupts__what_waits_at_the_end_is_obeyed_whatever_ended_it() -> None:
    before = signal.getsignal(signal.SIGINT)
    assert reached(lambda _: send(signal.SIGINT), fails) == 1
    assert reached(lambda _: send(signal.SIGINT), lambda _: None) == 2
    assert signal.getsignal(signal.SIGINT) is before


def twin(interrupts: Interrupts) -> Interrupts:
    """What a process that is started has of it; shared memory goes there in no other way."""
    kind, arguments, state = interrupts.__reduce__()
    made = kind(*arguments)
    made.__dict__ |= state
    return made


def test_interrupts__what_one_process_notes_all_know_once_they_are_at_work() -> None:
    shared, seen = Shared(), []
    here = Interrupts(shared)
    there = twin(here)

    def sees(_: Interrupts) -> None:
        seen.append((here.waits, there.waits))

    # While the others start, nobody would hear of it.
    assert reached(sees, lambda _: send(signal.SIGTERM), sees, within=here) == 1
    shared.begin()
    assert reached(sees, lambda _: send(signal.SIGTERM), sees, within=here) == 3
    assert seen == [(False, False), (False, False), (True, True)]
    with pytest.raises(KeyboardInterrupt):
        there.obey()


def test_interrupts__other_threads_hear_none() -> None:
    before, seen = signal.getsignal(signal.SIGINT), []

    def elsewhere() -> None:
        with Interrupts():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert seen == [before]
