"""What a person, or a log, is told of one job while it goes on."""

import pytest

from kd_lab.job import console
from kd_lab.job.console import Reporter
from kd_lab.types import NetworkResult

TRAINED = NetworkResult("teacher", "a" * 32, {"test/accuracy_top1": 0.9617}, "", reused=False)


def told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *, narrated: bool, quiet: bool) -> str:
    monkeypatch.setattr(console, "narrated", lambda: narrated)
    reporter = Reporter()
    reporter.console.quiet = quiet
    reporter.doing("teacher")
    monkeypatch.setattr(console.time, "monotonic", lambda began=reporter._began: began + 12.4)
    reporter.done("teacher", TRAINED)
    return capsys.readouterr().out


def test_phases__without_a_terminal__a_line_as_each_begins_and_ends(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert told(monkeypatch, capsys, narrated=True, quiet=False).splitlines() == [
        "teacher: begun",
        "teacher: finished in 12 s, accuracy 96.17%",
    ]


@pytest.mark.parametrize(("narrated", "quiet"), [(False, False), (True, True)])
def test_phases__on_a_terminal_or_quiet__nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], narrated: bool, quiet: bool
) -> None:
    assert told(monkeypatch, capsys, narrated=narrated, quiet=quiet) == ""
