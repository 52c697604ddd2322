"""The states of a sweep's jobs, as the process in front reads them."""

import os
from pathlib import Path

import pytest

from kd_lab.sweep.states import FAILED, FINISHED, RUNNING, JobFolder, JobState


def test_all__two_writes_within_one_tick_of_the_clock(tmp_path: Path) -> None:
    folder, file = JobFolder(tmp_path), tmp_path / "0.json"
    seen = []
    for state in (RUNNING, FAILED, RUNNING):
        folder.write(JobState(0, "seed=0", "", "", "", state=state))
        os.utime(file, ns=(10**18, 10**18))
        seen += [job.state for job in folder.all()]
    assert seen == [RUNNING, FAILED, RUNNING]


def test_all__same_length_and_time(tmp_path: Path) -> None:
    folder, file = JobFolder(tmp_path), tmp_path / "0.json"
    for doing in ("measuring the teacher", "measuring the student"):
        folder.write(JobState(0, "seed=0", "", "", "", state=FINISHED, doing=doing))
        os.utime(file, ns=(10**18, 10**18))
        assert [job.doing for job in folder.all()] == [doing]


def test_all__what_did_not_change_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = JobFolder(tmp_path)
    for number in (1, 0):
        folder.write(JobState(number, "", "", "", ""))
    first = folder.all()
    assert [job.number for job in first] == [0, 1]
    changed = folder.change(1, state=RUNNING)
    again = folder.all()
    assert again[0] is first[0]
    assert again[1] == changed
