"""How a process ends by a signal: as told, and not at all where the signal is ignored."""

import os
import signal

import pytest

from kd_lab.sweep.endings import end_like_interrupt


@pytest.fixture(autouse=True)
def _as_before():
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_end_like_interrupt__says_by_which_signal(number):
    end_like_interrupt()
    with pytest.raises(KeyboardInterrupt, match=number.name):
        os.kill(os.getpid(), number)


def test_end_like_interrupt__nohup__the_end_of_the_terminal_ends_nothing():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    end_like_interrupt()
    os.kill(os.getpid(), signal.SIGHUP)
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
