"""For all tests: one thread, since their tensors are small; whole jobs first and then files with slow ones, so that
none of them runs alone at the end; those marked gpu run where CUDA is.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is imported, and by every process that a test starts

from pathlib import Path

import pytest
import torch


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: ("integration" not in item.path.parts, item.path not in slow))
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs CUDA"))


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite store with MLflow's tables and no study: making one takes seconds, copying it none."""
    from kd_lab.store.store import Store

    file = tmp_path_factory.mktemp("store") / "mlflow.db"
    Store.open(f"sqlite:///{file}", "unused")
    return file
