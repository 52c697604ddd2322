"""How a process ends by a signal: as told, and not at all where the signal is ignored."""

import os
import signal
import subprocess
import sys

import pytest

from kd_lab.cli import main
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


HAMMERED = """
import atexit, os, signal, sys, time
from kd_lab.cli import main
signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever started the tests may ignore it
def interrupted(arguments):
    raise KeyboardInterrupt
def again():
    for _ in range(3):
        os.kill(os.getpid(), getattr(signal, sys.argv[1]))
    print("ended by itself", flush=True)
    time.sleep(2.5)
    os.kill(os.getpid(), signal.SIGINT)
    print("and was not heard")
atexit.register(again)
main._command = interrupted
main.main()
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_end_in_peace__more_signals_change_nothing_unless_the_end_takes_long(name):
    command = [sys.executable, "-c", HAMMERED, name]
    found = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert found.returncode == 130
    assert found.stdout == "ended by itself\n"
    assert found.stderr == "kd-lab: interrupted; what was measured so far is kept\n"


PENDING = """
import _thread, functools, operator, signal
from kd_lab.cli import main
signal.signal(signal.SIGINT, signal.default_int_handler)
def interrupted(arguments):  # in C, between two of whose calls Python looks for no signal
    first = functools.partial((one for one in ()).throw, KeyboardInterrupt)
    list(map(operator.call, [_thread.interrupt_main, first]))
main._command = lambda arguments: interrupted
main.main()
"""


def test_end_in_peace__one_more_signal_that_came_while_the_first_was_on_its_way():
    found = subprocess.run([sys.executable, "-c", PENDING], capture_output=True, text=True, timeout=60, check=False)
    assert (found.returncode, found.stderr) == (130, "kd-lab: interrupted; what was measured so far is kept\n")


def test_main__interrupted_in_a_process_that_lives_on__it_hears_signals_as_before(monkeypatch, capsys):
    def interrupted(_arguments):
        raise KeyboardInterrupt

    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    monkeypatch.setattr(main, "_command", lambda _arguments: interrupted)
    assert main._main([]) == 130
    assert capsys.readouterr().err == "kd-lab: interrupted; what was measured so far is kept\n"
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before
