"""What ends a training is told as what it is, in whichever process it came up."""

from typing import Any

import pytest
from torch.multiprocessing.spawn import ProcessRaisedException

from kd_lab.errors import PrunedError, TrainingFailedError, UserError
from kd_lab.job.fit import _run

KILLED = "DataLoader worker (pid 12) is killed by signal: Killed. "


class Raises:
    def __init__(self, error: Exception) -> None:
        self.error = error

    def fit(self, module: object) -> None:
        raise self.error


def run(error: Exception) -> None:
    trainer: Any = Raises(error)
    _run(trainer, None)  # type: ignore[arg-type]


def elsewhere(text: str) -> Exception:
    """As torch hands on what a process that it started raised."""
    return ProcessRaisedException(f"\n\n-- Process 1 terminated:\nTraceback (most recent call last):\n{text}\n", 1, 77)


@pytest.mark.parametrize("kind", [UserError, TrainingFailedError, PrunedError])
def test_run__what_another_process_says_is_raised_here(kind: type[Exception]) -> None:
    with pytest.raises(kind, match=r"^dataset.path=x: a.jpg cannot be read$"):
        run(elsewhere(f"kd_lab.errors.{kind.__name__}: dataset.path=x: a.jpg cannot be read"))


@pytest.mark.parametrize("error", [RuntimeError(KILLED), elsewhere(f"RuntimeError: {KILLED}")], ids=["here", "there"])
def test_run__a_worker_that_is_gone(error: Exception) -> None:
    with pytest.raises(TrainingFailedError, match=r"^a worker, .* for want of memory; take fewer workers"):
        run(error)


@pytest.mark.parametrize("error", [RuntimeError("CUDA error"), elsewhere("KeyError: 3"), UserError("dataset: no")])
def test_run__anything_else_as_it_is(error: Exception) -> None:
    with pytest.raises(type(error)) as raised:
        run(error)
    assert raised.value is error
