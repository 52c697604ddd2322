"""The whole job on a small scale: what it leaves in MLflow, and that it is found again."""

import json
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from mlflow.entities import Run
from safetensors.torch import load_file, save_file

from kd_lab import names
from kd_lab.analysis.curves import curves
from kd_lab.analysis.predictions import bins, predictions
from kd_lab.analysis.runs import pairs, runs
from kd_lab.models.common.weights import load_weights, weights_sha256
from kd_lab.models.mlp import MLP
from tests.integration.conftest import Finished
from tests.integration.processes import all_runs, artifact, client, of_role, the_run

Command = Callable[..., Any]
LINE = "dataset=synthetic"


@pytest.fixture(scope="module")
def of(finished: Finished) -> dict[str, Run]:
    """The runs of the finished job by role."""
    found = {role: the_run(finished.folder, role) for role in names.ROLES}
    assert len(all_runs(finished.folder)) == 3
    return found


def test_main_job__three_finished_runs_with_the_same_keys(of: dict[str, Run]) -> None:
    assert all(run.info.status == "FINISHED" for run in of.values())
    metrics = {role: set(run.data.metrics) for role, run in of.items()}
    shared = {
        names.TRAIN_LOSS_TOTAL,
        names.TRAIN_LEARNING_RATE,
        names.TEST_ACCURACY_TOP1,
        names.TEST_ACCURACY_TOP5,
        names.TEST_NLL_NATS,
        names.TEST_BRIER,
        names.TEST_ECE,
        names.COST_PARAMS_TOTAL,
        names.COST_MACS,
        names.COST_WEIGHTS_BYTES,
        names.COST_LATENCY_MS_P50,
        names.COST_LATENCY_MS_P95,
        names.COST_THROUGHPUT,
        names.COST_TRAIN_WALL_S,
        names.COST_TRAIN_STEPS,
        names.COST_TRAIN_PEAK_MEMORY_BYTES,
        names.COST_TRACKING_S,
    }
    assert all(shared <= keys for keys in metrics.values())
    assert {names.TEST_AGREEMENT_TOP1, names.TEST_KL_NATS} <= metrics["student"] - metrics["baseline"]
    assert names.train_loss("kd") in metrics["student"] - metrics["baseline"]
    steps = {role: run.data.metrics[names.COST_TRAIN_STEPS] for role, run in of.items()}
    assert steps == {"teacher": 30, "baseline": 60, "student": 60}


def test_main_job__the_console_tells_it(of: dict[str, Run], finished: Finished) -> None:
    student = of["student"]
    assert f"{100 * student.data.metrics[names.TEST_ACCURACY_TOP1]:.2f}" in finished.out
    assert student.data.tags[names.TAG_NOTE].split("(")[0] in finished.out
    assert student.info.run_id[:8] in finished.out
    assert "See them: kd-lab ui" in finished.out
    assert "Not the same budget" not in finished.out


def test_main_job__provenance_and_artifacts(of: dict[str, Run]) -> None:
    student, teacher = of["student"], of["teacher"]
    tags = student.data.tags
    assert tags[names.TAG_TEACHER_RUN] == teacher.info.run_id
    assert tags[names.TAG_TEACHER_WEIGHTS_SHA256] == teacher.data.tags[names.TAG_WEIGHTS_SHA256]
    assert tags[names.TAG_BASELINE_RUN] == of["baseline"].info.run_id
    assert len(tags[names.TAG_DATA_FINGERPRINT]) == 64
    assert tags["kd_lab.version.torch"] == version("torch")
    assert student.data.params["seed"] == "0"
    assert student.data.params["student.recipe.steps"] == "60"
    assert student.data.params["loss.terms.kd.temperature"] == "4.0"
    config = yaml.safe_load(artifact(student, names.ARTIFACT_CONFIG).read_text())
    assert config["student"]["recipe"]["optimizer"]["lr"] == 5e-3
    for run in of.values():
        for picture in (names.ARTIFACT_CONFUSION, names.ARTIFACT_RELIABILITY):
            assert artifact(run, picture).read_bytes()[:4] == b"\x89PNG"


def test_main_job__analysis_reads_it(of: dict[str, Run], finished: Finished) -> None:
    table = pairs(runs("synthetic", f"sqlite:///{finished.folder / 'mlflow.db'}"))
    assert len(table) == 1
    for role, run in of.items():
        assert table.iloc[0][f"{role}.{names.TEST_ACCURACY_TOP1}"] == run.data.metrics[names.TEST_ACCURACY_TOP1]


def test_main_job__kept_answers_of_all_three_agree_with_what_was_logged(of: dict[str, Run], finished: Finished) -> None:
    uri = f"sqlite:///{finished.folder / 'mlflow.db'}"
    answers = {role: predictions(run.info.run_id, uri) for role, run in of.items()}
    for role, found in answers.items():
        logged = of[role].data.metrics
        assert (found["predicted"] == found["target"]).mean() == logged[names.TEST_ACCURACY_TOP1]
        assert bins(found).ece == pytest.approx(logged[names.TEST_ECE], abs=1e-12)
        assert -np.log(found["target_probability"]).mean() == pytest.approx(logged[names.TEST_NLL_NATS], rel=1e-12)
        classes = found[[names.sample_probability(k) for k in range(10)]].to_numpy()
        np.testing.assert_allclose(classes.sum(axis=1), 1, atol=1e-6)
        np.testing.assert_allclose(classes.max(axis=1), found["confidence"], rtol=1e-6)
        assert (classes[np.arange(len(found)), found["predicted"]] == classes.max(axis=1)).all()
        # The same samples in the same order, so that student and teacher can be laid side by side.
        assert found[["index", "target"]].equals(answers["teacher"][["index", "target"]])
    same = (answers["student"]["predicted"] == answers["teacher"]["predicted"]).mean()
    assert same == of["student"].data.metrics[names.TEST_AGREEMENT_TOP1]
    assert curves([of["student"].info.run_id], names.train_loss("kd"), uri)["step"].max() == 60


@pytest.mark.usefixtures("done")
def test_main_job__kept_weights_rebuild_the_network(kd_lab: Command, tmp_path: Path) -> None:
    student = the_run(tmp_path, "student")
    rebuild = json.loads(artifact(student, names.ARTIFACT_NETWORK).read_text())
    assert (rebuild["num_classes"], rebuild["input_shape"]) == (10, [20])
    network = MLP(10, (20,), widths=rebuild["node"]["widths"])
    load_weights(network, artifact(student, names.ARTIFACT_WEIGHTS))
    assert weights_sha256(network) == student.data.tags[names.TAG_WEIGHTS_SHA256]
    said = kd_lab(f"evaluate run={student.info.run_id}")
    row = next(line for line in said.out.splitlines() if "accuracy" in line)
    assert row.count(f"{100 * student.data.metrics[names.TEST_ACCURACY_TOP1]:.2f}") == 2


@pytest.mark.slow
def test_main_job__says_when_the_steps_differ(kd_lab: Command, done: list[str]) -> None:
    out = kd_lab(LINE, *done, "baseline.recipe.steps=40").out
    assert "Not the same budget: 40 optimizer steps alone, 60 distilled." in out


def test_main_job__teacher_and_baseline_are_found_again(kd_lab: Command, tmp_path: Path, done: list[str]) -> None:
    teacher, baseline = (the_run(tmp_path, role).info.run_id for role in ("teacher", "baseline"))
    said = kd_lab(LINE, *done, "loss=soft_label")
    assert f"teacher: run {teacher[:8]} found again and verified" in said.out
    assert f"baseline: run {baseline[:8]} found again and verified" in said.out
    assert len(all_runs(tmp_path)) == 4
    assert of_role(tmp_path, "student")[1].data.tags[names.TAG_TEACHER_RUN] == teacher


@pytest.mark.slow
@pytest.mark.parametrize(
    "change", ["teacher.reuse=false", "teacher.recipe.steps=31", "teacher.seed=5", "dataset.seed=1"]
)
def test_main_job__another_teacher_is_trained(kd_lab: Command, tmp_path: Path, done: list[str], change: str) -> None:
    kd_lab(LINE, *done, "baseline=false", change)
    assert len(of_role(tmp_path, "teacher")) == 2


@pytest.mark.slow
def test_main_job__tampered_weights_are_noticed(kd_lab: Command, tmp_path: Path, done: list[str]) -> None:
    file = artifact(the_run(tmp_path, "teacher"), names.ARTIFACT_WEIGHTS)
    save_file({k: v + 1e-3 for k, v in load_file(file).items()}, file)
    said = kd_lab(LINE, *done, "baseline=false")
    assert "is not what its record says; training anew" in said.out
    assert len(of_role(tmp_path, "teacher")) == 2


@pytest.mark.slow
def test_main_job__same_seed_same_student(kd_lab: Command, tmp_path: Path, done: list[str]) -> None:
    for seed in (0, 1):
        assert kd_lab(LINE, *done, "baseline=false", f"seed={seed}").code == 0
    hashes = [run.data.tags[names.TAG_WEIGHTS_SHA256] for run in of_role(tmp_path, "student")]
    assert hashes[0] == hashes[1] != hashes[2]


@pytest.mark.slow
def test_main_job__teacher_from_a_run_and_from_files(kd_lab: Command, tmp_path: Path, done: list[str]) -> None:
    first = the_run(tmp_path, "teacher")
    torch.save(MLP(10, (20,), widths=[32]).state_dict(), "other.pt")
    for source in (f"run:{first.info.run_id}", str(artifact(first, names.ARTIFACT_WEIGHTS)), "other.pt"):
        said = kd_lab(LINE, *done, "baseline=false", f"teacher.weights={source}")
        assert said.code == 0, said
    teachers = of_role(tmp_path, "teacher")
    hashes = [s.data.tags[names.TAG_TEACHER_WEIGHTS_SHA256] for s in of_role(tmp_path, "student")]
    assert hashes[0] == hashes[1] == hashes[2] != hashes[3]
    assert len(teachers) == 4  # trained, and one for each place that it was loaded from
    assert names.COST_TRAIN_STEPS not in teachers[1].data.metrics


@pytest.mark.slow
def test_main_job__teacher_of_a_run_whose_file_was_damaged(kd_lab: Command, tmp_path: Path, done: list[str]) -> None:
    teacher = the_run(tmp_path, "teacher")
    file = artifact(teacher, names.ARTIFACT_WEIGHTS)
    content = bytearray(file.read_bytes())
    content[-2] ^= 1  # a bit of the last weight
    file.write_bytes(content)
    source = f"teacher.weights=run:{teacher.info.run_id}"
    for line in (f"{LINE} baseline=false", f"doctor {LINE}"):
        said = kd_lab(line, *done, source)
        assert said.code == 2
        assert f"{source}: its weights are not those that the run recorded (their sha256 differs)" in said.err


@pytest.mark.slow
def test_main_job__training_that_changes_no_weight_is_no_result(
    kd_lab: Command, small: list[str], tmp_path: Path
) -> None:
    said = kd_lab(f"{LINE} baseline=false student.recipe.optimizer.lr=1e-30", *small)
    assert said.code == 1
    assert said.err.splitlines()[-1].startswith("kd-lab: student: 60 steps changed no weight; expected a larger")
    student = the_run(tmp_path, "student")
    assert student.info.status == "FAILED"
    assert "changed no weight" in student.data.tags[names.TAG_REASON]


@pytest.mark.slow
@pytest.mark.usefixtures("small")
def test_main_job__loss_none_without_a_teacher_in_a_study_that_looks_like_markup(
    kd_lab: Command, tmp_path: Path
) -> None:
    job = "dataset=synthetic loss=none teacher=none student.recipe.steps=30 measure.figures=false"
    said = kd_lab(job, "study='[/b] mine'")
    assert said.code == 0, said
    assert [run.data.tags["role"] for run in all_runs(tmp_path, "[/b] mine")] == ["student"]
    assert "trained on hard labels" in said.out
    assert "study [/b] mine, seed 0, 2,000 test samples (commonest class 10.0%)" in said.out
    assert "study [/b] mine in sqlite:///mlflow.db" in said.out
    assert "Traceback" not in said.err


@pytest.mark.slow
def test_main_job__several_losses(kd_lab: Command, tmp_path: Path, small: list[str]) -> None:
    line = (
        "dataset=synthetic dataset.labels=null 'loss=[kd,soft_label]' loss.terms.soft_label.weight=0.5 baseline=false"
    )
    assert kd_lab(line, *small).code == 0
    assert list(tmp_path.rglob("*.png")) == []  # measure.figures=false
    last = {k: v for k, v in the_run(tmp_path, "student").data.metrics.items() if k.startswith("train/loss")}
    assert set(last) == {"train/loss_total", "train/loss_hard", "train/loss_kd", "train/loss_soft_label"}
    total = 0.1 * last["train/loss_hard"] + 0.9 * last["train/loss_kd"] + 0.5 * last["train/loss_soft_label"]
    assert last["train/loss_total"] == pytest.approx(total, rel=1e-5)


@pytest.mark.slow
@pytest.mark.usefixtures("small")
def test_main_job__own_class_own_arrays_epochs_and_validation(kd_lab: Command, tmp_path: Path) -> None:
    (tmp_path / "own_net.py").write_text(
        "from torch import nn\n\n\nclass Net(nn.Sequential):\n"
        "    def __init__(self, num_classes: int, width: int = 4) -> None:\n"
        "        super().__init__(nn.Linear(3, width), nn.ReLU(), nn.Linear(width, num_classes))\n"
    )
    random = np.random.default_rng(0)
    y = np.arange(200) % 2
    np.savez("mine.npz", X=random.standard_normal((200, 3)) + y[:, None], y=np.where(np.arange(200) < 80, -1, y))
    line = "dataset=arrays dataset.path=mine.npz teacher=mlp student._target_=own_net.Net student.width=6"
    more = [
        "student.recipe.epochs=3",
        "dataset.validation=0.1",
        "teacher.recipe.steps=20",
        "student.recipe.batch_size=16",
        "baseline.recipe.batch_size=16",
        "measure.figures=false",
    ]
    said = kd_lab(line, *more)
    assert said.code == 0, said
    student = the_run(tmp_path, "student", "arrays")
    # 120 labelled points: 24 for the test, 10 of the other 96 for validation; 86 and 80 unlabelled make 11 batches.
    assert student.data.metrics[names.COST_TRAIN_STEPS] == 33
    assert student.data.metrics[names.COST_PARAMS_TOTAL] == 3 * 6 + 6 + 6 * 2 + 2
    history = client(tmp_path).get_metric_history(student.info.run_id, names.VAL_ACCURACY_TOP1)
    assert [point.step for point in history] == [11, 22, 33]
