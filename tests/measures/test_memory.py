import mmap
import sys

import pytest
import torch

from kd_lab import names
from kd_lab.measures import memory
from kd_lab.measures.memory import PeakMemory

MIB = 1024 * 1024


def _touch(mebibytes):
    """Fresh pages from the system: the allocator could hand out old ones that are resident already."""
    with mmap.mmap(-1, mebibytes * MIB) as block:
        for page in range(0, len(block), mmap.PAGESIZE):
            block[page] = 1


def test_peak_memory__sees_what_was_freed_before_the_end():
    with PeakMemory("cpu") as quiet:
        pass
    with PeakMemory("cpu") as busy:
        _touch(200)
    assert busy.peak_bytes - quiet.peak_bytes > 150 * MIB


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can reset the peak of a process")
def test_peak_memory__does_not_see_what_was_before():
    with PeakMemory("cpu") as before:
        _touch(300)
    with PeakMemory("cpu") as after:
        pass
    assert before.peak_bytes - after.peak_bytes > 200 * MIB


def test_peak_memory__measurement_has_its_key():
    with PeakMemory("cpu") as found:
        pass
    assert found.measurement == {names.COST_TRAIN_PEAK_MEMORY_BYTES: float(found.peak_bytes)}
    assert found.peak_bytes > 10 * MIB


def test_peak_memory__without_proc_it_is_the_peak_of_the_process(monkeypatch):
    class NoFile:
        def __init__(self, *_):
            pass

        def read_text(self):
            raise FileNotFoundError

        def write_text(self, _):
            raise PermissionError

    real = memory.peak_rss_bytes()
    monkeypatch.setattr(memory, "Path", NoFile)
    with PeakMemory("cpu") as found:
        pass
    assert found.peak_bytes >= 0.9 * real


def test_peak_memory__is_read_when_the_body_fails():
    found = PeakMemory("cpu")
    with pytest.raises(RuntimeError, match="boom"), found:
        raise RuntimeError("boom")
    assert found.peak_bytes > 0


@pytest.mark.gpu
def test_peak_memory__cuda_counts_tensors():
    held = torch.cuda.memory_allocated()
    with PeakMemory("cuda") as found:
        block = torch.ones(64 * MIB, dtype=torch.uint8, device="cuda")
        del block
    assert found.peak_bytes - held >= 64 * MIB
