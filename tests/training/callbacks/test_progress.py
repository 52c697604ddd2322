import io
import itertools
from types import SimpleNamespace

import pytest

from kd_lab.training.callbacks.progress import ProgressBar, ProgressLines
from tests.training.toys import Plain, toy_recipe, train


class Screen(io.StringIO):
    """A standard error that a person looks at, or not."""

    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


def shown(monkeypatch: pytest.MonkeyPatch, *, terminal: bool, step_s: float, network: Plain | None = None) -> str:
    """What stands on the screen after ten steps that take `step_s` each by the bar's own clock."""
    screen = Screen(terminal=terminal)
    clock = itertools.count()
    with monkeypatch.context() as patch:
        patch.setattr("sys.stderr", screen)
        patch.setenv("TERM", "xterm")
        patch.setenv("COLUMNS", "100")
        patch.delenv("NO_COLOR", raising=False)
        patch.setattr(
            "kd_lab.training.callbacks.progress.time", SimpleNamespace(perf_counter=lambda: step_s * next(clock))
        )
        try:
            train(network if network is not None else Plain(), recipe=toy_recipe(steps=10))
        except KeyboardInterrupt:
            screen.write("<interrupted>")
    return screen.getvalue()


def test_progress__nothing_where_nobody_looks_however_long_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(monkeypatch, terminal=False, step_s=60.0) == ""


def test_progress__nothing_under_two_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(monkeypatch, terminal=True, step_s=0.19) == ""  # ten steps: 1.9 s


def test_progress__after_two_seconds_the_label_and_the_steps_done(monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown(monkeypatch, terminal=True, step_s=0.3)  # due at the seventh step: 2.1 s
    assert "toy" in text
    assert "/10" in text


def test_progress__is_taken_away_when_the_training_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown(monkeypatch, terminal=True, step_s=0.3)
    assert text.endswith(ERASED)
    assert SHOW_CURSOR in text


def test_progress__is_taken_away_when_the_training_is_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted(Plain):
        calls = itertools.count(1)

        def forward(self, inputs):
            if next(self.calls) == 9:
                raise KeyboardInterrupt
            return super().forward(inputs)

    text = shown(monkeypatch, terminal=True, step_s=0.5, network=Interrupted())
    assert "/10" in text
    assert text.endswith(f"{ERASED}<interrupted>")
    assert SHOW_CURSOR in text


SHOW_CURSOR = "\x1b[?25h"
ERASED = "\x1b[2K"


def test_progress__a_label_of_others__is_text(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen(terminal=True)
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr("kd_lab.training.callbacks.progress.PATIENCE_S", 0.0)
    bar, trainer = ProgressBar("[/b] \x1b[2J", 2), SimpleNamespace(is_global_zero=True)
    bar.on_train_start(trainer, None)  # type: ignore[arg-type]
    bar.after_batch(trainer, SimpleNamespace(steps_done=1), None)  # type: ignore[arg-type]
    bar.on_train_end(trainer, None)  # type: ignore[arg-type]
    assert "[/b] \\x1" in screen.getvalue()
    assert "\x1b[2J" not in screen.getvalue()


def lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], step_s: float, rank: int = 0
) -> list[str]:
    """What is printed of ten steps in epochs of four, which take `step_s` each."""
    now = itertools.count()
    monkeypatch.setattr(
        "kd_lab.training.callbacks.progress.time", SimpleNamespace(perf_counter=lambda: step_s * next(now))
    )
    told, trainer = ProgressLines("student", 10), SimpleNamespace(is_global_zero=rank == 0)
    told.on_train_start(trainer, SimpleNamespace(steps_done=0))  # type: ignore[arg-type]
    for step in range(1, 11):
        module = SimpleNamespace(steps_done=step, feed=range(4), recipe=SimpleNamespace(accumulate=1))
        told.after_batch(trainer, module, None)  # type: ignore[arg-type]
    return capsys.readouterr().out.splitlines()


def test_lines__every_thirty_seconds_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert lines(monkeypatch, capsys, 10.0) == [
        "student: step 3 of 10, epoch 1 of 3, about 70 s left",
        "student: step 6 of 10, epoch 2 of 3, about 40 s left",
        "student: step 9 of 10, epoch 3 of 3, about 10 s left",
    ]


def test_lines__a_short_training_and_the_other_processes__silent(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert lines(monkeypatch, capsys, 2.9) == []
    assert lines(monkeypatch, capsys, 10.0, rank=1) == []
