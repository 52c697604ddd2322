"""What the processes of torchrun tell one another, through a store as torchrun keeps one; without processes."""

import pickle
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
from torch.distributed import TCPStore
from torch.multiprocessing.spawn import ProcessContext, ProcessExitedException, ProcessRaisedException

from kd_lab.errors import UserError
from kd_lab.outside.torchrun import Place, place
from kd_lab.training.ranks import Ranks, Told, follow, serve

OF_TORCHRUN = {
    "RANK": "3",
    "WORLD_SIZE": "4",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "node-0",
    "MASTER_PORT": "29500",
    "TORCHELASTIC_RESTART_COUNT": "1",
    "TORCHELASTIC_USE_AGENT_STORE": "True",
}


@pytest.fixture
def first() -> Iterator[Place]:
    """The place of rank 0 of two, beside a store."""
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=20))
    yield Place(0, 2, 0, 2, "127.0.0.1", store.port, 0)
    del store


class Process:
    """Stands for this rank's process: goes on for some looks, then ends, or fails."""

    def __init__(self, looks: int, error: BaseException | None = None) -> None:
        self.looks, self.error, self.ended = looks, error, False
        self.processes = [self]

    def join(self, _seconds: float) -> bool:
        self.looks -= 1
        if self.looks < 0 and self.error is not None:
            raise self.error
        return self.looks < 0

    def is_alive(self) -> bool:
        return not self.ended

    def kill(self) -> None:
        self.ended = True


def test_place__as_torchrun_tells_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in OF_TORCHRUN:
        monkeypatch.delenv(name, raising=False)
    assert place() is None
    for name, value in OF_TORCHRUN.items():
        monkeypatch.setenv(name, value)
    assert place() == Place(3, 4, 1, 2, "node-0", 29500, 1)
    assert place().machines == 2  # type: ignore[union-attr]
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    with pytest.raises(UserError, match="WORLD_SIZE=4 LOCAL_WORLD_SIZE=3: expected as many processes on each machine"):
        place()
    monkeypatch.delenv("TORCHELASTIC_USE_AGENT_STORE")
    with pytest.raises(UserError, match=r"RANK=3 WORLD_SIZE=4: one of several processes, .* expected torchrun"):
        place()


def test_training__arrives_whole_in_pieces_and_is_forgotten(first: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kd_lab.training.ranks.PIECE", 10)
    one, other = Ranks(first), Ranks(replace(first, rank=1))
    assert other.newest() == 0
    training = bytes(range(256))
    assert [one.publish(b"first"), one.publish(training)] == [1, 2]
    assert (other.newest(), other.training(1), other.training(2)) == (2, b"first", training)
    one.forget(2)
    assert not one._store.check(["2/0"])
    assert Ranks(replace(first, attempt=1)).newest() == 0


def test_told__reaches_a_process_that_it_was_pickled_for(first: Place) -> None:
    here = Told(first, "a")
    there: Told = pickle.loads(pickle.dumps(here))
    other = Told(first, "b")
    assert (there.is_at_work, there.is_wanted, there.step) == (False, False, 0)
    here.begin()
    here.want()
    here.step = 7
    assert (there.is_at_work, there.is_wanted, there.step) == (True, True, 7)
    assert (other.is_at_work, other.is_wanted, other.step) == (False, False, 0)


@pytest.mark.parametrize("error", [ProcessRaisedException("UserError: oh", 0, 1), ProcessExitedException("9", 0, 1, 9)])
def test_follow__another_rank_failed__ends_ours_and_says_why(first: Place, error: Exception) -> None:
    one, other, process = Ranks(first), Ranks(replace(first, rank=1)), Process(5)
    process.join = lambda _seconds=0.0: False  # type: ignore[method-assign]
    with pytest.raises(type(error), match=str(error)):
        follow(other, 1, Process(0, error))  # type: ignore[arg-type]
    with pytest.raises(type(error), match=str(error)):
        follow(one, 1, process)  # type: ignore[arg-type]
    assert process.ended


def test_follow__a_peer_that_is_gone__its_own_reason_counts(first: Place) -> None:
    one, other = Ranks(first), Ranks(replace(first, rank=1))
    reason = ProcessRaisedException("TrainingFailedError: nan", 0, 1)
    later = threading.Timer(0.3, lambda: other.fail(1, reason))
    later.start()
    with pytest.raises(ProcessRaisedException, match="TrainingFailedError: nan"):
        follow(one, 1, Process(1, ProcessRaisedException("Connection closed by peer", 0, 1)))  # type: ignore[arg-type]
    later.join()


def test_follow__an_end_is_no_failure_and_an_interruption_is_told(first: Place) -> None:
    ranks = Ranks(first)
    follow(ranks, 1, Process(2))  # type: ignore[arg-type]
    assert ranks.failed(1) is None
    with pytest.raises(KeyboardInterrupt):
        follow(ranks, 2, Process(0, KeyboardInterrupt()))  # type: ignore[arg-type]
    assert str(ranks.failed(2)).endswith("KeyboardInterrupt")


@pytest.fixture
def _signals() -> Iterator[None]:
    before = [(number, signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM)]
    yield
    for number, handler in before:
        signal.signal(number, handler)


@pytest.mark.usefixtures("_signals")
def test_serve__trains_what_is_newest_until_the_first_one_ends(first: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    one, trained = Ranks(first), []

    def start(training: bytes, _results: None) -> "ProcessContext | Process":
        trained.append(training)
        one.end()
        return Process(0, ProcessRaisedException("UserError: the first one tells it", 0, 1))

    monkeypatch.setattr("kd_lab.training.ranks.train", start)
    one.publish(b"nobody came in time")
    one.publish(b"this one")
    assert serve(replace(first, rank=1)) == 0
    assert trained == [b"this one"]
    assert "the first one tells it" in str(one.failed(2))


@pytest.mark.usefixtures("_signals")
def test_serve__is_ended_while_it_waits(first: Place) -> None:
    later = threading.Timer(0.5, lambda: signal.raise_signal(signal.SIGTERM))
    later.start()
    assert serve(replace(first, rank=1)) == 130
    later.join()
