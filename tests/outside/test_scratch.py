"""Folders of a process: gone when it ends, and swept by a later one when it was killed."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from kd_lab.outside.scratch import LOCK, PREFIX, _own_folder, beside, own_folder, scratch

HOLDS = """
import sys, time
from pathlib import Path
from kd_lab.outside.scratch import beside, scratch
with beside(Path(sys.argv[1]), ".made_") if sys.argv[1:] else scratch() as folder:
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def root(tmp_path, monkeypatch):
    """An empty folder in the place of /tmp, for this process and those that it starts."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    _own_folder.cache_clear()
    yield tmp_path
    _own_folder.cache_clear()


def begun(*arguments):
    command = [sys.executable, "-c", HOLDS, *arguments]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    return process, process.stdout.readline().strip()


def made_old(root):
    for folder in root.iterdir():
        os.utime(folder, (time.time() - 100, time.time() - 100))


def test_scratch__gone_after_the_block(root):
    with scratch() as folder:
        assert os.path.dirname(folder) == str(own_folder())
    assert [path.name for path in own_folder().iterdir()] == [LOCK]


def test_scratch__nothing_is_left_when_the_process_ends(root):
    process, folder = begun()
    assert os.path.isdir(folder)
    process.communicate("")
    assert list(root.iterdir()) == []


def test_scratch__killed__swept_by_the_next_and_only_then(root):
    (root / "kd-lab-of-another-kind").mkdir()
    (alive, there), (killed, left) = begun(), begun()
    made_old(root)
    killed.kill()
    killed.wait(20)
    own_folder()
    assert os.path.isdir(there)
    assert not os.path.exists(left)
    assert (root / "kd-lab-of-another-kind").is_dir()
    alive.communicate("")


def test_scratch__new_and_linked_folders__left_alone(root):
    (root / f"{PREFIX}new").mkdir()
    (root / "mine").mkdir()
    (root / f"{PREFIX}link").symlink_to(root / "mine")
    own_folder()
    assert (root / f"{PREFIX}new").is_dir()
    assert (root / "mine").is_dir()


def test_beside__gone_after_the_block_and_swept_where_its_process_was_killed(tmp_path):
    file = tmp_path / "student.onnx"
    (alive, there), (killed, _) = begun(file), begun(file)
    for folder in tmp_path.iterdir():
        os.utime(folder, (time.time() - 100, time.time() - 100))
    killed.kill()
    killed.wait(20)
    with beside(file, ".made_") as folder:
        assert folder.parent == tmp_path
        assert sorted(tmp_path.iterdir()) == sorted([folder, Path(there)])
    alive.communicate("")
    assert list(tmp_path.iterdir()) == []
