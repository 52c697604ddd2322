"""What a job of a sweep is found again by."""

from pathlib import Path

import pytest

from kd_lab.job.ready import ready
from kd_lab.job.settings import Settings
from kd_lab.sweep.found import _Known, found_jobs
from tests.job.composed import config, plan

BASE = ["dataset=synthetic", "teacher=mlp"]


def key(*overrides: str) -> str:
    return plan(*BASE, *overrides).specs.job_key()


@pytest.mark.parametrize(
    "change",
    [
        "study=another",
        "tracking.every_n_steps=5",
        "tracking.uri=sqlite:///elsewhere.db",
        "measure.latency_runs=7",
        "teacher.reuse=false",
        "baseline.reuse=false",
        "sweep.jobs=3",
        "sweep.resume=false",
    ],
)
def test_job_key__is_the_same_whatever_no_result_follows_from(change: str) -> None:
    assert key(change) == key()


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        "seed=1",
        "dataset.labels=300",
        "dataset.seed=1",
        "teacher.seed=5",
        "teacher.recipe.steps=7",
        "teacher.widths=[8]",
        "student.widths=[8]",
        "student.recipe.steps=7",
        "student.recipe.optimizer.lr=0.1",
        "student.recipe.precision=bf16-mixed",
        "loss=soft_label",
        "loss.temperature=3",
        "loss.hard_weight=0.5",
        "loss.schedules.temperature=cosine",
        "loss.standardize=true",
        "baseline=false",
        "baseline.recipe.steps=7",
        "trainer.threads=1",
    ],
)
def test_job_key__differs_with_all_that_a_result_follows_from(change: str) -> None:
    assert key(change) != key()


def test_job_key__differs_with_the_classes_left_out_however_they_are_written() -> None:
    labelled = "dataset.labels=null"
    whole, one, same, other = (
        key(labelled, f"student.without_classes={classes}") for classes in ("[]", "[3,4]", "[4,3,3]", "[3]")
    )
    assert whole == key(labelled)
    assert one == same
    assert len({whole, one, other}) == 3


def test_job_key__a_file_of_weights_counts_by_its_content(tmp_path: Path) -> None:
    from kd_lab.models.common.weights import save_weights
    from kd_lab.models.mlp import MLP

    files = [tmp_path / name for name in ("a.safetensors", "b.safetensors", "c.safetensors")]
    first, second = MLP(10, (20,), widths=[32]), MLP(10, (20,), widths=[32])
    for file, network in zip(files, (first, first, second), strict=True):
        save_weights(network, file)
    one, same, other = (key("teacher.widths=[32]", f"teacher.weights={file}") for file in files)
    assert one == same
    assert len({one, other, key("teacher.widths=[32]")}) == 3


def test_job_key__an_edited_class_is_another_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    file = tmp_path / "own_loss_of_a_sweep.py"
    text = "from kd_lab.losses.kd import KD\n\nclass Own(KD):\n    pass\n"
    file.write_text(text)
    change = "loss.terms.kd._target_=own_loss_of_a_sweep.Own"
    before = key(change)
    assert key(change) == before != key()
    file.write_text(f"{text}\n# edited\n")
    assert key(change) != before


def test_found_jobs__nothing_where_there_is_no_store_or_the_config_cannot_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert found_jobs([config(*BASE), config(*BASE, "seed=-1")]) == [None, None]
    assert list(tmp_path.iterdir()) == []


def test_found_jobs__look_for_a_job_of_two_processes_by_its_own_key() -> None:
    two = ["trainer.accelerator=cpu", "trainer.devices=2", "trainer.sync_batchnorm=true"]
    ddp, fsdp = (Settings.of(config(*BASE, f"trainer={trainer}", *two)) for trainer in ("ddp", "fsdp"))
    for settings in (ddp, fsdp):
        assert _Known()._plan(settings).specs.job_key() == ready(settings).specs.job_key()
    specs = [ready(ddp).specs, ready(fsdp).specs, plan(*BASE).specs]
    assert len({one.job_key() for one in specs}) == 3
    teachers = [one.teacher for one in specs if one.teacher is not None]
    assert len({one.world.key(teacher) for one, teacher in zip(specs, teachers, strict=True)}) == 3
