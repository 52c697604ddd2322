from pathlib import Path
from typing import Any

from torch import distributed

from kd_lab.training.callbacks.process_group import ProcessGroup

ANY: Any = None


def test_process_group__is_gone_after_the_training(tmp_path: Path) -> None:
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)

    ProcessGroup().teardown(ANY, ANY, "fit")

    assert not distributed.is_initialized()


def test_process_group__one_process_has_none() -> None:
    ProcessGroup().teardown(ANY, ANY, "fit")

    assert not distributed.is_initialized()
