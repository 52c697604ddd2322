"""The whole job on a small scale: what it leaves in MLflow, and that it is found again."""

import json
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml
from mlflow import MlflowClient
from mlflow.entities import Run

from kd_lab import names

Command = Callable[..., Any]
LINE = "dataset=synthetic"


def client() -> MlflowClient:
    # Absolute, because MLflow keeps one store per address, whatever the folder.
    return MlflowClient(f"sqlite:///{Path('mlflow.db').absolute()}")


def all_runs(study: str = "synthetic") -> dict[str, list[Run]]:
    """The runs of a study by role, oldest first."""
    mlflow = client()
    experiment = mlflow.get_experiment_by_name(study)
    assert experiment is not None
    found: dict[str, list[Run]] = {}
    for run in mlflow.search_runs([experiment.experiment_id], order_by=["attributes.start_time ASC"]):
        found.setdefault(run.data.tags["role"], []).append(run)
    return found


def artifact(run: Run, path: str) -> Path:
    return Path(client().download_artifacts(run.info.run_id, path))


def test_main_job__three_finished_runs_with_the_same_keys(kd_lab: Command, small: list[str]) -> None:
    said = kd_lab(LINE, *small)
    assert said.code == 0, said
    found = all_runs()
    assert {role: len(runs) for role, runs in found.items()} == {"teacher": 1, "baseline": 1, "student": 1}
    assert all(runs[0].info.status == "FINISHED" for runs in found.values())
    metrics = {role: set(runs[0].data.metrics) for role, runs in found.items()}
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
    steps = {role: runs[0].data.metrics[names.COST_TRAIN_STEPS] for role, runs in found.items()}
    assert steps == {"teacher": 30, "baseline": 60, "student": 60}


def test_main_job__the_console_tells_it(kd_lab: Command, small: list[str]) -> None:
    out = kd_lab(LINE, *small).out
    student = all_runs()["student"][0]
    assert f"{100 * student.data.metrics[names.TEST_ACCURACY_TOP1]:.2f}" in out
    assert student.data.tags[names.TAG_NOTE].split("(")[0] in out
    assert student.info.run_id[:8] in out
    assert "See them: kd-lab ui" in out
    assert "Not the same budget" not in out


def test_main_job__says_when_the_steps_differ(kd_lab: Command, small: list[str]) -> None:
    out = kd_lab(LINE, *small, "baseline.recipe.steps=40").out
    assert "Not the same budget: 40 optimizer steps alone, 60 distilled." in out


def test_main_job__provenance_and_artifacts(kd_lab: Command, small: list[str]) -> None:
    kd_lab(LINE, *small, "seed=4")
    found = all_runs()
    student, teacher = found["student"][0], found["teacher"][0]
    tags = student.data.tags
    assert tags[names.TAG_TEACHER_RUN] == teacher.info.run_id
    assert tags[names.TAG_TEACHER_WEIGHTS_SHA256] == teacher.data.tags[names.TAG_WEIGHTS_SHA256]
    assert tags[names.TAG_BASELINE_RUN] == found["baseline"][0].info.run_id
    assert len(tags[names.TAG_DATA_FINGERPRINT]) == 64
    assert tags["kd_lab.version.torch"] == version("torch")
    assert student.data.params["seed"] == "4"
    assert student.data.params["student.recipe.steps"] == "60"
    assert student.data.params["loss.terms.kd.temperature"] == "4.0"
    config = yaml.safe_load(artifact(student, names.ARTIFACT_CONFIG).read_text())
    assert config["student"]["recipe"]["optimizer"]["lr"] == 5e-3
    for picture in (names.ARTIFACT_CONFUSION, names.ARTIFACT_RELIABILITY):
        assert artifact(student, picture).read_bytes()[:4] == b"\x89PNG"


@pytest.mark.slow
def test_main_job__kept_weights_rebuild_the_network(kd_lab: Command, small: list[str]) -> None:
    from kd_lab.models.common.weights import load_weights, weights_sha256
    from kd_lab.models.mlp import MLP

    kd_lab(LINE, *small)
    student = all_runs()["student"][0]
    rebuild = json.loads(artifact(student, names.ARTIFACT_NETWORK).read_text())
    assert rebuild["num_classes"] == 10
    assert rebuild["input_shape"] == [20]
    network = MLP(10, (20,), widths=rebuild["node"]["widths"])
    load_weights(network, artifact(student, names.ARTIFACT_WEIGHTS))
    assert weights_sha256(network) == student.data.tags[names.TAG_WEIGHTS_SHA256]
    said = kd_lab(f"evaluate run={student.info.run_id}")
    accuracy = f"{100 * student.data.metrics[names.TEST_ACCURACY_TOP1]:.2f}"
    row = next(line for line in said.out.splitlines() if "accuracy" in line)
    assert row.count(accuracy) == 2


def test_main_job__teacher_and_baseline_are_found_again(kd_lab: Command, small: list[str]) -> None:
    kd_lab(LINE, *small)
    said = kd_lab(LINE, *small, "loss=soft_label")
    found = all_runs()
    assert {role: len(runs) for role, runs in found.items()} == {"teacher": 1, "baseline": 1, "student": 2}
    assert f"teacher: run {found['teacher'][0].info.run_id[:8]} found again and verified" in said.out
    assert f"baseline: run {found['baseline'][0].info.run_id[:8]} found again and verified" in said.out
    assert found["student"][1].data.tags[names.TAG_TEACHER_RUN] == found["teacher"][0].info.run_id


@pytest.mark.slow
@pytest.mark.parametrize(
    "change", ["teacher.reuse=false", "teacher.recipe.steps=31", "teacher.seed=5", "dataset.seed=1"]
)
def test_main_job__another_teacher_is_trained(kd_lab: Command, small: list[str], change: str) -> None:
    kd_lab(LINE, *small, "baseline=false")
    kd_lab(LINE, *small, "baseline=false", change)
    assert len(all_runs()["teacher"]) == 2


@pytest.mark.slow
def test_main_job__tampered_weights_are_noticed(kd_lab: Command, small: list[str]) -> None:
    from safetensors.torch import load_file, save_file

    kd_lab(LINE, *small, "baseline=false")
    file = next(
        Path("mlartifacts").glob(f"*/{all_runs()['teacher'][0].info.run_id}/artifacts/{names.ARTIFACT_WEIGHTS}")
    )
    save_file({k: v + 1e-3 for k, v in load_file(file).items()}, file)
    said = kd_lab(LINE, *small, "baseline=false")
    assert "is not what its record says; training anew" in said.out
    assert len(all_runs()["teacher"]) == 2


def test_main_job__same_seed_same_student(kd_lab: Command, small: list[str]) -> None:
    for seed in (0, 0, 1):
        assert kd_lab(LINE, *small, "baseline=false", f"seed={seed}").code == 0
    hashes = [run.data.tags[names.TAG_WEIGHTS_SHA256] for run in all_runs()["student"]]
    assert hashes[0] == hashes[1] != hashes[2]


@pytest.mark.slow
def test_main_job__teacher_from_a_run_and_from_files(kd_lab: Command, small: list[str]) -> None:
    from kd_lab.models.mlp import MLP

    kd_lab(LINE, *small, "baseline=false")
    first = all_runs()["teacher"][0]
    torch.save(MLP(10, (20,), widths=[32]).state_dict(), "other.pt")
    weights = artifact(first, names.ARTIFACT_WEIGHTS)
    for source in (f"run:{first.info.run_id}", str(weights), "other.pt"):
        said = kd_lab(LINE, *small, "baseline=false", f"teacher.weights={source}")
        assert said.code == 0, said
    teachers, students = all_runs()["teacher"], all_runs()["student"]
    hashes = [s.data.tags[names.TAG_TEACHER_WEIGHTS_SHA256] for s in students]
    assert hashes[0] == hashes[1] == hashes[2] != hashes[3]
    assert len(teachers) == 4  # trained, and one for each place that it was loaded from
    assert names.COST_TRAIN_STEPS not in teachers[1].data.metrics


def test_main_job__loss_none_without_a_teacher(kd_lab: Command) -> None:
    said = kd_lab("dataset=synthetic loss=none teacher=none student.recipe.steps=30")
    assert said.code == 0, said
    assert set(all_runs()) == {"student"}
    assert "trained on hard labels" in said.out


def test_main_job__several_losses(kd_lab: Command, small: list[str]) -> None:
    line = (
        "dataset=synthetic dataset.labels=null 'loss=[kd,soft_label]' loss.terms.soft_label.weight=0.5 baseline=false"
    )
    assert kd_lab(line, *small).code == 0
    student = all_runs()["student"][0]
    last = {k: v for k, v in student.data.metrics.items() if k.startswith("train/loss")}
    assert set(last) == {"train/loss_total", "train/loss_hard", "train/loss_kd", "train/loss_soft_label"}
    total = 0.1 * last["train/loss_hard"] + 0.9 * last["train/loss_kd"] + 0.5 * last["train/loss_soft_label"]
    assert last["train/loss_total"] == pytest.approx(total, rel=1e-5)


def test_main_job__own_class_own_arrays_epochs_and_validation(kd_lab: Command, tmp_path: Path) -> None:
    import numpy as np

    (tmp_path / "own_net.py").write_text(
        "from torch import nn\n\n\nclass Net(nn.Sequential):\n"
        "    def __init__(self, num_classes: int, width: int = 4) -> None:\n"
        "        super().__init__(nn.Linear(3, width), nn.ReLU(), nn.Linear(width, num_classes))\n"
    )
    random = np.random.default_rng(0)
    y = np.arange(200) % 2
    np.savez("mine.npz", X=random.standard_normal((200, 3)) + y[:, None], y=np.where(np.arange(200) < 80, -1, y))
    line = "dataset=arrays dataset.path=mine.npz teacher=mlp student._target_=own_net.Net +student.width=6"
    more = [
        "student.recipe.epochs=3",
        "teacher.recipe.steps=20",
        "student.recipe.batch_size=16",
        "baseline.recipe.batch_size=16",
    ]
    said = kd_lab(line, *more)
    assert said.code == 0, said
    student = all_runs("arrays")["student"][0]
    # 120 labelled points: 24 for the test, 10 of the other 96 for validation; 86 and 80 unlabelled make 11 batches.
    assert student.data.metrics[names.COST_TRAIN_STEPS] == 33
    assert student.data.metrics[names.COST_PARAMS_TOTAL] == 3 * 6 + 6 + 6 * 2 + 2
    history = client().get_metric_history(student.info.run_id, names.VAL_ACCURACY_TOP1)
    assert [point.step for point in history] == [11, 22, 33]


def test_main_job__analysis_reads_it(kd_lab: Command, small: list[str]) -> None:
    from kd_lab.analysis.runs import pairs, runs

    kd_lab(LINE, *small)
    table: pd.DataFrame = pairs(runs("synthetic"))
    assert len(table) == 1
    row = table.iloc[0]
    found = all_runs()
    for role in ("teacher", "baseline", "student"):
        assert row[f"{role}.{names.TEST_ACCURACY_TOP1}"] == found[role][0].data.metrics[names.TEST_ACCURACY_TOP1]
