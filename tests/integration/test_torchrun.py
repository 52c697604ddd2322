"""`torchrun --no-python ... kd-lab`: two processes on gloo, one of which is the user's."""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from kd_lab import names
from tests.integration import rank
from tests.integration.conftest import Said
from tests.integration.processes import ONE_THREAD, STARTED, all_runs, finish, forks, of_role, standing_in, until
from tests.integration.test_resuming import newest

pytestmark = pytest.mark.slow

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--no-python", "--nproc_per_node=2"]
JOB = ["dataset=synthetic", "loss=ps_kd", "teacher=none", "baseline=false", "trainer.accelerator=cpu"]
JOB += ["trainer.threads=1", "student.recipe.steps=400", "measure.latency_runs=2", "measure.figures=false"]


def torchrun(folder: Path, *overrides: str) -> "subprocess.Popen[str]":
    command = [*TORCHRUN, sys.executable, "-S", rank.__file__, forks()[0].door, *JOB, *overrides]
    piped = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    STARTED.append(subprocess.Popen(command, cwd=folder, env=ONE_THREAD, text=True, **piped))
    return STARTED[-1]


@pytest.mark.parametrize("trainer", ["trainer=ddp", "trainer=fsdp"])
def test_torchrun__interrupted_and_again__equals_the_processes_of_one_machine(
    kd_lab: Callable[..., Said], tmp_path: Path, empty_store: Path, trainer: str
) -> None:
    folder = tmp_path / "torchrun"
    folder.mkdir()
    for place in (tmp_path, folder):
        (place / "mlflow.db").write_bytes(empty_store.read_bytes())
    said = kd_lab("", *JOB, trainer, "trainer.devices=2")
    assert said.code == 0, said.err

    first = torchrun(folder, trainer, "checkpoint.every_s=0.1")
    until(lambda: newest(folder) != "" or first.poll() is not None)
    assert first.poll() is None, finish(first)
    started = standing_in(folder)
    first.send_signal(signal.SIGINT)
    _, _, err = finish(first)
    assert err.count("kd-lab: interrupted; what was measured so far is kept") == 1
    assert len(started) >= 1 + 2 + 2 + 2  # torchrun, what it starts, the ranks, and the processes that train
    _, left = psutil.wait_procs(started, timeout=10)  # Python's own trackers of resources end a moment later
    assert left == []

    code, out, err = finish(torchrun(folder, trainer, "checkpoint.every_s=0.1"))

    assert code == 0, err
    assert out.count("student: goes on at step ") == 1
    assert out.count("See them: kd-lab ui") == 1
    assert [(run.data.tags["role"], run.info.status) for run in all_runs(folder)] == [
        ("student", "KILLED"),
        ("student", "FINISHED"),
    ]
    (one,), (_, again) = of_role(tmp_path, "student"), of_role(folder, "student")
    assert again.data.tags[names.TAG_WEIGHTS_SHA256] == one.data.tags[names.TAG_WEIGHTS_SHA256]
    assert again.data.tags[names.TAG_PROCESSES] == one.data.tags[names.TAG_PROCESSES] == "2"


@pytest.mark.parametrize("trainer", ["trainer=ddp", "trainer=fsdp"])
def test_torchrun__wrong_input_is_one_sentence_and_nothing_is_written(tmp_path: Path, trainer: str) -> None:
    code, out, err = finish(torchrun(tmp_path, trainer, "trainer.devices=3"))
    assert code == 1  # torchrun's own
    said = [line for line in err.splitlines() if line.startswith("kd-lab: ")]
    assert said == [
        f"kd-lab: trainer.devices=3: torchrun started 2 processes; expected {trainer}, and of trainer.devices that "
        "number or auto"
    ]
    assert "exitcode  : 2" in err
    assert (out, list(tmp_path.iterdir())) == ("", [])
