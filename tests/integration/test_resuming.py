"""A whole job that is interrupted and given again is the one that never was: each network's weights and curves."""

import re
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from kd_lab import names
from kd_lab.training.module import TrainingModule
from tests.integration.processes import finish, standing_in, start, until

pytestmark = pytest.mark.slow

CNNS = "teacher=cnn student=cnn student.channels=[4,8] tuned/loss=none"
SHORT = ["measure.latency_runs=2", "measure.latency_warmup=1", "study=s", "teacher.recipe.steps=25"]
EVERY_STEP = "checkpoint.every_s=1e-9"
WHOLE = "whole.db"
JOBS = {
    "crd": f"loss=crd {CNNS} student.recipe.steps=30",
    "ps_kd": "loss=ps_kd teacher=none dataset=synthetic student.recipe.steps=60",
    "ab": f"loss=ab {CNNS} loss.terms.ab.stage_epochs=1 student.recipe.steps=30",
    "ensemble": "student.recipe.steps=40",
    "augmented": f"{CNNS} student.recipe.augment=true student.recipe.draws=2 baseline=false "
    "teacher.recipe.augment=true student.recipe.steps=90 teacher.cache=memory",
    "schedules": "dataset=synthetic teacher=mlp loss.schedules.temperature=cosine loss.schedules.hard_weight=cosine "
    "student.recipe.steps=40",
    "best": "dataset=synthetic teacher=mlp checkpoint.keep=both dataset.validation=100 student.recipe.early_stopping=3 "
    "student.recipe.ema=0.9 student.recipe.accumulate=2 student.recipe.steps=60",
}


@pytest.fixture
def kill(monkeypatch: pytest.MonkeyPatch) -> Callable[[int | None], None]:
    """`kill(n)`: interrupt the job at its n-th batch from now, whichever training that belongs to; None: not at all."""
    original, left = TrainingModule._count, -1

    def count(self: TrainingModule, *args: Any) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise KeyboardInterrupt
        original(self, *args)

    def at(batches: int | None) -> None:
        nonlocal left
        left = -1 if batches is None else batches

    monkeypatch.setattr(TrainingModule, "_count", count)
    return at


def finished(database: Path) -> Iterator[tuple[str, Run, dict[str, list[tuple[int, float]]]]]:
    """Each finished run with its name and all its points but those of time."""
    client = MlflowClient(f"sqlite:///{database}")
    study = client.get_experiment_by_name("s")
    assert study is not None
    for run in client.search_runs([study.experiment_id], "attributes.status = 'FINISHED'"):
        if run.data.tags["role"] == "sweep":
            continue
        keys = [key for key in run.data.metrics if not key.startswith("cost/") or key == names.COST_TRAIN_STEPS]
        points = {key: [(p.step, p.value) for p in client.get_metric_history(run.info.run_id, key)] for key in keys}
        yield run.info.run_name, run, points


def assert_same(database: Path, reference: Path) -> None:
    whole = {name: (run, points) for name, run, points in finished(reference)}
    again = {name: (run, points) for name, run, points in finished(database)}
    assert again.keys() == whole.keys()
    assert len(list(finished(database))) == len(whole)
    for name, (run, points) in whole.items():
        other, others = again[name]
        assert other.data.tags[names.TAG_WEIGHTS_SHA256] == run.data.tags[names.TAG_WEIGHTS_SHA256], name
        assert others == points, name
    assert not Path(f"{database}.checkpoints").exists()


@pytest.mark.parametrize("job", JOBS)
def test_job__interrupted_equals_uninterrupted(
    tmp_path: Path, empty_store: Path, kd_lab: Callable[..., Any], kill: Any, job: str
) -> None:
    for store in (WHOLE, "mlflow.db"):
        (tmp_path / store).write_bytes(empty_store.read_bytes())
    said = kd_lab(JOBS[job], *SHORT, f"tracking.uri=sqlite:///{WHOLE}", EVERY_STEP)
    assert said.code == 0, said.err

    lines = ""
    for batches in (9, 26, 31):
        kill(batches)
        said = kd_lab(JOBS[job], *SHORT, EVERY_STEP)
        assert said.code == 130, said.err
        lines += said.out
    kill(None)
    said = kd_lab(JOBS[job], *SHORT, EVERY_STEP)
    assert said.code == 0, said.err

    assert (lines + said.out).count(": goes on at step ") == 3
    assert_same(tmp_path / "mlflow.db", tmp_path / WHOLE)


LONG = ["dataset=synthetic", "teacher=mlp", "student.recipe.steps=4000", *SHORT]
TWO_PROCESSES = ["dataset=synthetic", "teacher=none", "loss=ps_kd", "baseline=false", *SHORT]
TWO_PROCESSES += ["student.recipe.steps=400", "trainer.accelerator=cpu", "trainer.devices=2"]


def newest(folder: Path) -> str:
    """The newest state of all trainings, by the moment that it was written at."""
    files = [(file.stat().st_mtime_ns, str(file)) for file in folder.glob("mlflow.db.checkpoints/*/*.state")]
    return max(files, default=(0, ""))[1]


def killed(folder: Path, command: list[str], how: signal.Signals) -> None:
    """Begin the command, and end it and all that it started once it has kept a state of its own."""
    before, process = newest(folder), start(folder, *command)

    def has_kept() -> bool:
        try:
            return newest(folder) not in {before, ""}
        except FileNotFoundError:  # gone between two looks
            return False

    until(has_kept)
    all_of_it = standing_in(folder) if how == signal.SIGKILL else []
    process.signal(how)
    for one in all_of_it:
        with suppress(psutil.NoSuchProcess):
            one.send_signal(how)
    finish(process)


@pytest.mark.parametrize(
    ("command", "ends"),
    [
        ([*LONG, "checkpoint.every_s=0.3"], [signal.SIGKILL, signal.SIGTERM, signal.SIGKILL]),
        (["-m", "seed=0,1", *LONG, "baseline=false", "checkpoint.every_s=0.3"], [signal.SIGKILL, signal.SIGTERM]),
        (["trainer=ddp", *TWO_PROCESSES, "checkpoint.every_s=0.1"], [signal.SIGTERM]),
        (["trainer=fsdp", *TWO_PROCESSES, "checkpoint.every_s=0.1"], [signal.SIGTERM]),
    ],
    ids=["job", "sweep", "ddp", "fsdp"],
)
def test_command__that_is_killed_goes_on(
    tmp_path: Path, empty_store: Path, command: list[str], ends: list[signal.Signals]
) -> None:
    whole, folder = tmp_path / "whole", tmp_path / "again"
    for one in (whole, folder):
        one.mkdir()
        (one / "mlflow.db").write_bytes(empty_store.read_bytes())
    code, _, err = finish(start(whole, *command[:-1]))
    assert code == 0, err

    for how in ends:
        killed(folder, command, how)
    code, out, err = finish(start(folder, *command))

    assert code == 0, err
    assert re.search(r"student.*: goes on at step [\d,]+ of 4(,0)?00, from a state of \d\d:\d\d", out), out
    assert_same(folder / "mlflow.db", whole / "mlflow.db")
