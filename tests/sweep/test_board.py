"""What is shown of the jobs of a sweep."""

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from kd_lab.outside.console import PlainConsole
from kd_lab.sweep.board import Board, best, counts, failures, name, rows, seconds_left
from kd_lab.sweep.states import FAILED, FINISHED, FOUND, RUNNING, WAITING, JobFolder, JobState


def job(number: int = 0, state: str = WAITING, label: str = "", **facts: object) -> JobState:
    return JobState(number, label or f"seed={number}", "sqlite:///mlflow.db", "study", "0", state=state, **facts)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("seed=3 student.recipe.batch_size=64", "seed=3 batch_size=64"),
        ("loss.temperature=1.5 dataset.path=my.npz", "temperature=1.5 path=my.npz"),
        ("teacher.widths=[8] student.widths=[4]", "teacher.widths=[8] student.widths=[4]"),
        ("", "job"),
    ],
)
def test_name__is_short_where_that_is_clear(label: str, expected: str) -> None:
    assert name(JobState(0, label, "", "", "")) == expected


def test_counts__leave_out_what_there_is_none_of() -> None:
    jobs = [job(0, FINISHED), job(1, FOUND), job(2, FOUND), job(3)]
    assert counts(jobs) == "4 jobs: 1 done, 2 found again, 1 waiting"
    assert counts([job(0, FAILED)]) == "1 job: 1 failed"


def test_best__names_the_part_that_it_was_measured_on() -> None:
    jobs = [job(0, FINISHED, score=0.5, on_validation=True), job(1, FOUND, score=0.75, on_validation=True), job(2)]
    assert best(jobs) == "best so far 75.00% on the validation part (seed=1)"
    assert best([job(0)]) == ""


def test_failures__a_shared_reason_is_told_once() -> None:
    jobs = [job(i, FAILED, reason="too large") for i in range(5)] + [job(5, FAILED, reason="no GPU"), job(6, FINISHED)]
    assert failures(jobs).splitlines() == [
        "failed (seed=0; seed=1; seed=2 and 2 more): too large",
        "failed (seed=5): no GPU",
    ]


def test_seconds_left__median_times_what_is_left_by_slots() -> None:
    done = [job(i, FINISHED, started=0.0, ended=seconds) for i, seconds in enumerate((10.0, 20.0, 99.0))]
    running = [job(3, RUNNING, started=95.0), job(4, RUNNING, started=50.0)]
    # The median is 20 s; one has run 5 s of it, the other longer than that; three wait; two at once.
    assert seconds_left([*done, *running, job(5), job(6), job(7)], 2, now=100.0) == (15 + 0 + 3 * 20) / 2
    assert seconds_left([*running, job(5)], 2, now=100.0) is None
    assert seconds_left([*done[1:], *running, job(5)], 2, now=100.0) is None  # these may have trained the teacher
    assert seconds_left([done[0], done[2], job(5)], 1, now=100.0) == 10
    assert seconds_left(done, 2, now=100.0) is None


def test_rows__show_what_runs_and_failed_first_and_fit_the_terminal() -> None:
    out = io.StringIO()
    console = Console(file=out, width=80, height=15, force_terminal=True, color_system=None)
    jobs = [job(i, FINISHED, started=0.0, ended=float(i), result="student 90%") for i in range(20)]
    jobs += [job(20, RUNNING, started=0.0, doing="teacher"), job(21, FAILED, ended=1.0, reason="too large"), job(22)]
    console.print(rows(jobs, console))
    lines = out.getvalue().splitlines()
    assert len(lines) == 10
    assert lines[1].split()[:2] == ["seed=20", "running"]
    assert lines[1].rstrip().endswith("teacher")
    assert lines[2].split()[:2] == ["seed=21", "failed"]
    assert lines[3].split()[:2] == ["seed=19", "finished"]
    assert lines[-1].strip() == "... and 15 more"
    assert all(len(line) <= 80 for line in lines)


def test_rows__a_narrow_terminal_has_a_list_that_loses_no_word() -> None:
    out = io.StringIO()
    console = Console(file=out, width=40, height=30, force_terminal=True, color_system=None)
    result = "student 60.80%, alone 58.85%, +1.95 points"
    jobs = [job(0, FINISHED, started=0.0, ended=75.0, result=result), job(1, FAILED, reason="too large"), job(2)]
    console.print(rows(jobs, console))
    lines = [line.rstrip() for line in out.getvalue().splitlines()]
    assert lines == [
        "seed=1: failed",
        "  too large",
        "seed=0: finished 75 s",
        "  student 60.80%, alone 58.85%, +1.95",
        "points",
        "seed=2: waiting",
    ]


def test_board__without_a_terminal_a_line_per_job(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = JobFolder(tmp_path)
    folder.write(job(0))
    folder.write(job(1))
    folder.write(job(2, FOUND, result="student 91.00%"))
    with Board(folder, 1, 0.0, resumes=True):
        folder.change(0, state=FINISHED, result="student 90.00%", ended=1.0)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "1 of 3 jobs are there already (sweep.resume=false runs all again)"
    assert sorted(lines[1:3]) == ["seed=0: student 90.00%", "seed=2: found again: student 91.00%"]
    assert lines[3].startswith("3 jobs: 1 done, 1 found again, 1 waiting in ")
    assert lines[4:] == ["The same command again does the rest."]


def test_board__without_a_terminal__jobs_begin_and_a_reason_is_told_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = JobFolder(tmp_path)
    for number in range(3):
        folder.write(job(number))
    with Board(folder, 1, 0.0, resumes=False):
        for number in range(3):
            folder.change(number, state=FAILED, reason="too large", started=2.0 * number, ended=2.0 * number + 1)
    assert capsys.readouterr().out.splitlines()[:6] == [
        "seed=0: begun",
        "seed=0: failed: too large",
        "seed=1: begun",
        "seed=1: failed for the same reason as seed=0",
        "seed=2: begun",
        "seed=2: failed for the same reason as seed=0",
    ]


def test_board__without_a_terminal__now_and_then_how_many_are_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = JobFolder(tmp_path)
    folder.write(job(0, FINISHED, started=0.0, ended=60.0, result="student 90.00%"))
    folder.write(job(1, FINISHED, started=60.0, ended=120.0, result="student 90.00%"))
    folder.write(job(2))
    monkeypatch.setattr("kd_lab.sweep.board.COUNTS_S", 0.0)
    with Board(folder, 1, 0.0, resumes=False):
        pass
    assert "3 jobs: 2 done, 1 waiting, about 60 s left" in capsys.readouterr().out.splitlines()


def test_folder__reads_what_another_one_wrote_last(tmp_path: Path) -> None:
    ours, theirs = JobFolder(tmp_path), JobFolder(tmp_path)
    ours.write(job(10))
    ours.write(job(9))
    assert [state.number for state in ours.all()] == [9, 10]
    theirs.change(9, state=RUNNING, doing="student")
    assert ours.all()[0] == job(9, RUNNING, doing="student")


EVIL = "[/b] \x1b[2J\nfailed"


def test_board__labels_and_reasons_of_others__text_on_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = JobFolder(tmp_path)
    folder.write(job(0, label=f"loss={EVIL}"))
    with Board(folder, 1, 0.0, resumes=False):
        folder.change(0, state=FAILED, reason="[/b] \x1b[2J", warnings=["[/b] \x9b2J"], ended=1.0)
    lines = capsys.readouterr().out.splitlines()
    assert "[/b] \\x9b2J" in lines
    assert "loss=[/b] \\x1b[2J failed: failed: [/b] \\x1b[2J" in lines
    assert "failed (loss=[/b] \\x1b[2J failed): [/b] \\x1b[2J" in lines


def test_board__on_a_terminal__text_there_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    screen = PlainConsole(file=out, width=120, height=20, force_terminal=True, color_system=None)
    monkeypatch.setattr("kd_lab.sweep.board.console", lambda: screen)
    folder = JobFolder(tmp_path)
    folder.write(job(0, RUNNING, f"loss={EVIL}", doing=EVIL, started=1.0, score=0.5))
    with Board(folder, 1, 0.0, resumes=False):
        pass
    assert "best so far 50.00% on the test part (loss=[/b] \\x1b[2J failed)" in out.getvalue()
    assert re.search(r"^loss=\[/b\] \\x1b\[2J failed +running", out.getvalue(), re.MULTILINE)
    assert "\x1b[2J" not in out.getvalue()
