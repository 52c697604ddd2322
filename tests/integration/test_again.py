"""`student.reuse=true`: a job that is done already is not done twice, and what was found is what was kept."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from kd_lab import names
from tests.integration.conftest import Finished
from tests.integration.processes import all_runs, artifact, the_run

Command = Callable[..., Any]
REUSE = ["dataset=synthetic", "student.reuse=true"]


def table(out: str) -> str:
    """What is printed of the result, from its first line to the remarks."""
    return out[out.index("study synthetic, seed 0") : out.index("\nRuns: ")]


def test_reuse__the_same_job_is_found_and_told_as_it_was(
    kd_lab: Command, tmp_path: Path, finished: Finished, done: list[str]
) -> None:
    ids = {role: the_run(tmp_path, role).info.run_id for role in names.ROLES}
    said = kd_lab("", *REUSE, *done)

    assert said.code == 0, said.err
    assert len(all_runs(tmp_path)) == 3
    found = f"student: run {ids['student'][:8]} found again, and with it the whole job: nothing is trained"
    assert found in said.out
    assert "begun" not in said.out
    assert table(said.out) == table(finished.out)
    assert ", ".join(f"{role} {run_id[:8]} (found again)" for role, run_id in ids.items()) in said.out


def test_reuse__another_job_is_done_and_states_of_last_year_are_forgotten(
    kd_lab: Command, tmp_path: Path, done: list[str]
) -> None:
    old = tmp_path / "mlflow.db.checkpoints" / "a-network"
    old.mkdir(parents=True)
    (old / "main-000000000003-0.state").write_bytes(bytes(10**6))
    for path in (old / "main-000000000003-0.state", old):
        os.utime(path, (1.7e9, 1.7e9))
    said = kd_lab("loss.temperature=7 baseline=false", *REUSE, *done)

    assert said.code == 0, said.err
    told = "removed the states of one training, which nobody has gone on with for 30 days (1.0 MB)"
    assert f"{old.parent}: {told}" in said.out
    assert not old.parent.exists()
    assert "nothing is trained" not in said.out
    assert [run.data.tags["role"] for run in all_runs(tmp_path)].count("student") == 2


def test_reuse__weights_that_are_not_what_was_recorded__done_anew(
    kd_lab: Command, tmp_path: Path, done: list[str]
) -> None:
    student = the_run(tmp_path, "student")
    file = artifact(student, names.ARTIFACT_WEIGHTS)
    tensors = load_file(file)
    next(iter(tensors.values())).add_(1)
    save_file(tensors, file)
    said = kd_lab("", *REUSE, *done)

    assert said.code == 0, said.err
    assert f"student: run {student.info.run_id[:8]} is not what its record says; the job is done anew" in said.out
    assert [run.data.tags["role"] for run in all_runs(tmp_path)].count("student") == 2
