"""Whole jobs with losses of layers: what is printed, what is kept, what is deployed."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from kd_lab import names
from kd_lab.models.mlp import MLP
from tests.integration.processes import artifact, client, of_role, the_run

pytestmark = pytest.mark.slow

LINE = "baseline=false teacher=cnn student=cnn student.channels=[4,8] tuned/loss=none"


@pytest.fixture
def short(small: list[str]) -> list[str]:
    return [*(x for x in small if x != "teacher=mlp"), "student.recipe.steps=8", "teacher.recipe.steps=8"]


def test_job__pairs_are_printed_and_kept_and_each_term_has_its_curve(
    kd_lab: Any, tmp_path: Path, short: list[str]
) -> None:
    every_label = "dataset.labels=null"  # else the hard labels' curve is a mean over other samples than the total's
    said = kd_lab(f"{LINE} 'loss=[kd,at,fitnet]' loss.terms.at.weight=500 {every_label}", *short)

    assert said.code == 0, said
    assert "at: features.2 [4, 8, 8] learns from features.2 [32, 8, 8]" in said.out
    student = the_run(tmp_path, "student", "digits").data
    assert json.loads(student.params["layers.at"])[1] == "features.5 [8, 8, 8] learns from features.5 [64, 8, 8]"
    last = {k: v for k, v in student.metrics.items() if k.startswith("train/loss")}
    expected = last["train/loss_hard"] + 0.9 * last["train/loss_kd"]
    expected += 500 * last["train/loss_at"] + 100 * last["train/loss_fitnet"]
    assert last["train/loss_total"] == pytest.approx(expected, rel=1e-4)


def test_job__the_student_is_kept_without_what_the_loss_trained(kd_lab: Any, tmp_path: Path, short: list[str]) -> None:
    assert kd_lab(f"{LINE} loss=fitnet", *short).code == 0

    kept = load_file(artifact(the_run(tmp_path, "student", "digits"), names.ARTIFACT_WEIGHTS))
    assert all(name.startswith(("features.", "classifier.")) for name in kept)


def test_job__simkd_deploys_projector_and_classifier_and_evaluate_rebuilds_it(
    kd_lab: Any, tmp_path: Path, short: list[str]
) -> None:
    said = kd_lab(f"{LINE.replace('baseline=false', '')} loss=simkd", *short)
    assert said.code == 0, said
    student_run = the_run(tmp_path, "student", "digits")
    alone, student = the_run(tmp_path, "baseline", "digits").data, student_run.data
    # The student's hidden layer has 128 units: its own classifier goes, projector 128-64-64-128 and classifier come.
    projector = 128 * 64 + 64 * 64 + 64 * 128 + 2 * (64 + 64 + 128)
    key = names.COST_PARAMS_TOTAL
    assert student.metrics[key] == alone.metrics[key] + projector
    assert student.metrics[names.COST_MACS] == alone.metrics[names.COST_MACS] + 128 * 64 + 64 * 64 + 64 * 128
    assert student.metrics[names.COST_PARAMS_TRAINABLE] < student.metrics[key]

    again = kd_lab(f"evaluate run={student_run.info.run_id}")

    assert again.code == 0, again
    row = next(line for line in again.out.splitlines() if "accuracy" in line)
    assert row.count(f"{100 * student.metrics[names.TEST_ACCURACY_TOP1]:.2f}") == 2
    assert "cnn + projector" in again.out


def test_job__a_scheduled_temperature_is_a_curve(kd_lab: Any, tmp_path: Path, short: list[str]) -> None:
    line = "dataset=synthetic baseline=false teacher=mlp loss.schedules.temperature=cosine"
    said = kd_lab(f"{line} loss.schedules.temperature.final=1 tracking.every_n_steps=2", *short)

    assert said.code == 0, said
    run = the_run(tmp_path, "student")
    history = client(tmp_path).get_metric_history(run.info.run_id, "train/kd_temperature")
    assert [p.step for p in history] == [2, 4, 6, 8]
    assert history[0].value > history[-1].value > 1.0


def test_job__standardized_logits_are_in_the_parameters(kd_lab: Any, tmp_path: Path, short: list[str]) -> None:
    said = kd_lab("dataset=synthetic baseline=false teacher=mlp loss.standardize=true loss.temperature=2", *short)

    assert said.code == 0, said
    params = the_run(tmp_path, "student").data.params
    assert params["loss.terms.kd.standardize"] == "true"
    assert params["loss.terms.kd.temperature"] == "2"  # the one that acts, and no other beside it
    assert not [key for key in params if key.startswith("loss.temperature")]


def test_job__layers_without_hard_labels_under_ddp_are_as_in_one_process(
    kd_lab: Any, tmp_path: Path, short: list[str]
) -> None:
    """SGD on the mean of the processes' gradients is SGD on the whole batch where no BatchNorm stands in between.

    The student's classifier gets no gradient, and DDP must not wait for one; the regressor of FitNets does.
    """
    line = "dataset=synthetic baseline=false teacher=mlp teacher.widths=[16] student=mlp student.widths=[8]"
    line += " 'loss=[rkd,fitnet]' loss.hard_weight=0 loss.terms.rkd.gather=true teacher.weights=teacher.pt"
    line += " student/recipe/optimizer=sgd student.recipe.optimizer.lr=0.01 student.recipe.batch_size=30"
    torch.save(MLP(10, (20,), widths=[16]).state_dict(), "teacher.pt")
    kept = []
    for trainer in ("trainer=cpu", "trainer=ddp trainer.accelerator=cpu trainer.devices=2"):
        said = kd_lab(f"{line} {trainer}", *short)
        assert said.code == 0, said
        kept.append(load_file(artifact(of_role(tmp_path, "student")[-1], names.ARTIFACT_WEIGHTS)))
    assert len(of_role(tmp_path, "student")) == 2
    for name, one in kept[0].items():
        torch.testing.assert_close(kept[1][name], one, rtol=1e-4, atol=1e-6)
