"""For all tests: one thread, since their tensors are small; those marked gpu run where CUDA is."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is imported, and by every process that a test starts

import pytest
import torch


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs CUDA"))
