"""What was trained is kept before anything is measured; what could not be measured is said, and made good later."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow.entities import Run

from kd_lab import names
from kd_lab.job import measured
from kd_lab.store import stored_run
from tests.integration.processes import COMMAND, ONE_THREAD, artifact, client, of_role, the_run

Command = Callable[..., Any]
JOB = "dataset=synthetic"


def artifacts(run: Run) -> set[str]:
    return {path.relative_to(artifact(run)).as_posix() for path in artifact(run).rglob("*") if path.is_file()}


def no_memory(*_: object, **__: object) -> None:
    raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")


@pytest.mark.slow
def test_measuring__latency_fails__said_tagged_and_made_good_by_evaluate(
    kd_lab: Command, tmp_path: Path, small: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(measured, "latency", no_memory)
        said = kd_lab(JOB, *small)

    assert said.code == 0, said.err
    student = the_run(tmp_path, names.STUDENT)
    again = f"`kd-lab evaluate run={student.info.run_id}` tries again"
    told = "student mlp 32: latency could not be measured ([enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: "
    assert f"{told}can't allocate memory); {again}" in said.out
    assert said.out.count("latency could not be measured") == 3
    assert student.info.status == "FINISHED"
    assert student.data.tags[names.TAG_UNMEASURED].startswith("latency: [enforce fail")
    assert names.TEST_ACCURACY_TOP1 in student.data.metrics
    assert names.COST_LATENCY_MS_P50 not in student.data.metrics

    evaluated = kd_lab(f"evaluate run={student.info.run_id}")
    assert evaluated.code == 0, evaluated.err
    assert "The run lacked 3 of these numbers, and has them now." in evaluated.out
    mended = the_run(tmp_path, names.STUDENT)
    assert mended.data.metrics.keys() == student.data.metrics.keys() | {
        names.COST_LATENCY_MS_P50,
        names.COST_LATENCY_MS_P95,
        names.COST_THROUGHPUT,
    }
    assert mended.data.metrics.items() >= student.data.metrics.items()
    assert (mended.info.status, mended.data.tags[names.TAG_UNMEASURED]) == ("FINISHED", "nothing")
    assert "lacked" not in kd_lab(f"evaluate run={student.info.run_id}").out


def interrupted_at(role: str) -> Callable[..., Any]:
    """Ctrl-C while that network's answers are measured."""
    plain, roles = measured.predictive, iter(names.ROLES)

    def predictive(*arguments: Any) -> Any:
        if next(roles) == role:
            raise KeyboardInterrupt
        return plain(*arguments)

    return predictive


@pytest.mark.slow
@pytest.mark.parametrize("role", [names.TEACHER, names.BASELINE])
def test_measuring__interrupted__the_next_job_takes_the_network_and_finishes_its_run(
    kd_lab: Command, tmp_path: Path, small: list[str], monkeypatch: pytest.MonkeyPatch, role: str
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(measured, "predictive", interrupted_at(role))
        assert kd_lab(JOB, *small).code == 130
    run = the_run(tmp_path, role)
    assert (run.info.status, run.data.tags[names.TAG_UNMEASURED]) == ("KILLED", "everything")
    assert {names.ARTIFACT_WEIGHTS, names.ARTIFACT_NETWORK, names.ARTIFACT_MLMODEL} <= artifacts(run)

    said = kd_lab(JOB, *small)

    assert said.code == 0, said.err
    assert f"{role}: run {run.info.run_id[:8]}, which ended before it was measured, is finished now" in said.out
    finished = the_run(tmp_path, role)
    assert (finished.info.run_id, finished.info.status) == (run.info.run_id, "FINISHED")
    assert finished.data.tags[names.TAG_UNMEASURED] == "nothing"
    assert names.TAG_REASON not in finished.data.tags
    assert {names.TEST_ACCURACY_TOP1, names.COST_LATENCY_MS_P50, names.COST_TRAIN_STEPS} <= finished.data.metrics.keys()
    assert names.ARTIFACT_PREDICTIONS in artifacts(finished)
    assert artifact(run, names.ARTIFACT_WEIGHTS).is_file()
    assert f"{role}: run {run.info.run_id[:8]} found again and verified" in kd_lab(JOB, *small).out
    assert not (tmp_path / "kd_lab_rescue").exists()


def test_teacher__whose_end_could_not_be_kept__is_not_trained_twice(
    kd_lab: Command, tmp_path: Path, done: list[str]
) -> None:
    teacher = the_run(tmp_path, names.TEACHER)  # as a full disk leaves it, which took all but the end
    client(tmp_path).update_run(teacher.info.run_id, status="KILLED")

    said = kd_lab(JOB, *done, "seed=1", "baseline=false")

    assert said.code == 0, said.err
    assert f"teacher: run {teacher.info.run_id[:8]}, whose end could not be kept, is finished now" in said.out
    assert (the_run(tmp_path, names.TEACHER).info.status) == "FINISHED"


@pytest.mark.slow
def test_measuring__student_interrupted__evaluate_finishes_it(
    kd_lab: Command, tmp_path: Path, small: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(measured, "predictive", interrupted_at(names.STUDENT))
        assert kd_lab(JOB, *small).code == 130
    run = the_run(tmp_path, names.STUDENT)
    assert run.info.status == "KILLED"

    assert kd_lab(f"evaluate run={run.info.run_id}").code == 0

    finished = the_run(tmp_path, names.STUDENT)
    assert finished.info.status == "FINISHED"
    assert {
        names.TEST_ACCURACY_TOP1,
        names.TEST_AGREEMENT_TOP1,
        names.COST_LATENCY_MS_P50,
    } <= finished.data.metrics.keys()
    assert names.ARTIFACT_PREDICTIONS in artifacts(finished)


NOT_A_NUMBER = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, num_classes, input_shape):
        super().__init__()
        self.layer = nn.Linear(20, num_classes)

    def forward(self, inputs):
        logits = self.layer(inputs)
        return logits if self.training or len(inputs) < 3 else logits + float("nan")
"""


def test_measuring__answers_that_are_no_numbers__one_sentence_and_the_weights_are_kept(
    kd_lab: Command, tmp_path: Path, small: list[str]
) -> None:
    (tmp_path / "nan_net.py").write_text(NOT_A_NUMBER)
    said = kd_lab("teacher=none loss=none student._target_=nan_net.Net", JOB, small[0], "measure.figures=false")

    run = the_run(tmp_path, names.STUDENT)
    assert said.code == 1
    assert said.err == (
        "kd-lab: student nan_net.Net: what it answers cannot be measured (answers to the test part: Expected finite "
        "logits, but 2000 of 2000 samples have NaN or infinite ones.); its weights are kept in run "
        f"{run.info.run_id}, and `kd-lab evaluate run={run.info.run_id}` measures them again\n"
    )
    assert run.info.status == "FAILED"
    assert run.data.tags[names.TAG_REASON] in said.err
    assert names.ARTIFACT_WEIGHTS in artifacts(run)


def test_evaluate__a_run_of_another_version__by_what_is_known_of_its_config(
    kd_lab: Command, tmp_path: Path, done: list[str]
) -> None:
    run = the_run(tmp_path, names.STUDENT)
    file = artifact(run, names.ARTIFACT_CONFIG)
    config = yaml.safe_load(file.read_text())
    del config["measure"]["threads"], config["sweep"], config["loss"]
    config |= {"unknown": 1, "measure": config["measure"] | {"gone_since": 5}}
    file.write_text(yaml.safe_dump(config))
    said = kd_lab(f"evaluate run={run.info.run_id}")
    assert said.code == 0, said.err
    assert "agreement with the teacher" in said.out


@pytest.mark.slow
def test_evaluate__each_network_at_its_own_precision(
    kd_lab: Command, tmp_path: Path, small: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert kd_lab(JOB, *small, "teacher.recipe.precision=bf16-mixed").code == 0
    asked: list[str] = []
    plain = measured.predict

    def noted(*arguments: Any, precision: str, **more: Any) -> Any:
        asked.append(precision)
        return plain(*arguments, precision=precision, **more)

    for module in ("kd_lab.job.measured", "kd_lab.job.evaluate"):
        monkeypatch.setattr(f"{module}.predict", noted)
    for role in names.ROLES:
        assert kd_lab(f"evaluate run={the_run(tmp_path, role).info.run_id}").code == 0
    assert asked == ["bf16-mixed", "32", "bf16-mixed", "32"]  # the student beside its teacher


@pytest.mark.slow
def test_found_networks__leave_no_copies(kd_lab: Command, tmp_path: Path, done: list[str]) -> None:
    stored_run._downloads.cache_clear()
    teacher = the_run(tmp_path, names.TEACHER).info.run_id
    assert kd_lab(JOB, *done, "seed=1", "baseline=false").code == 0
    assert kd_lab(JOB, *done, f"teacher.weights=run:{teacher}").code == 0
    assert kd_lab(f"evaluate run={teacher}").code == 0
    folder = Path(stored_run._downloads())
    assert [path for path in folder.rglob("*") if path.is_file()] == []
    shutil.rmtree(folder)
    stored_run._downloads.cache_clear()


@pytest.mark.slow
def test_baseline__its_fidelity_is_on_the_run_of_the_student_that_has_both(
    kd_lab: Command, tmp_path: Path, done: list[str]
) -> None:
    another = kd_lab(JOB, *done, "teacher.seed=7", "teacher.recipe.steps=90")
    assert another.code == 0
    baseline = the_run(tmp_path, names.BASELINE)
    assert not baseline.data.metrics.keys() & names.OF_ALONE.keys()
    assert names.TAG_TEACHER_RUN not in baseline.data.tags
    first, second = of_role(tmp_path, names.STUDENT)
    for student in (first, second):
        assert {names.TEST_ALONE_AGREEMENT_TOP1, names.TEST_ALONE_KL_NATS} <= student.data.metrics.keys()
    assert first.data.metrics[names.TEST_ALONE_KL_NATS] != second.data.metrics[names.TEST_ALONE_KL_NATS]
    row = next(line for line in another.out.splitlines() if "agreement with the teacher, %" in line)
    assert f"{100 * second.data.metrics[names.TEST_ALONE_AGREEMENT_TOP1]:.2f}" in row


@pytest.mark.slow
def test_store_that_may_only_be_read__evaluate_and_compare(tmp_path: Path, done: list[str]) -> None:
    run = the_run(tmp_path, names.STUDENT).info.run_id
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}

    def read_only(*command: str) -> "subprocess.CompletedProcess[str]":
        """In a folder of its own; the store's is mounted once more, to be read."""
        mount = 'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && cd "$2" && shift 2 && exec "$@"'
        words = ["unshare", "-rm", "sh", "-c", f"{mount} || exit 77", "sh", str(tmp_path), "/dev/shm", *command]
        return subprocess.run(words, capture_output=True, text=True, timeout=300, env=ONE_THREAD, check=False)

    if shutil.which("unshare") is None or read_only("true").returncode:
        pytest.skip("this system lets nobody mount a folder to be read")
    uri = f"tracking.uri=sqlite:///{tmp_path}/mlflow.db"
    evaluated = read_only(*COMMAND, "evaluate", f"run={run}", uri)
    assert (evaluated.returncode, evaluated.stderr) == (0, "")
    assert "agreement with the teacher" in evaluated.stdout
    compared = read_only(*COMMAND, "compare", "synthetic", uri)
    assert (compared.returncode, compared.stderr) == (0, "")
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
