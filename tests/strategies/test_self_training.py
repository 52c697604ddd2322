"""The student's own pseudo-labels: taught by a network that knows the labels alone, whatever the job's teacher is."""

import pytest

import kd_lab
from kd_lab import names
from kd_lab.errors import UserError
from kd_lab.job.notes import described
from tests.job.composed import plan

SELF = "strategy=self_training"


@pytest.mark.parametrize("teacher", ["mlp", "none"])
def test_plan__first_network_learns_from_labels_and_teaches_on_the_transfer_set(teacher: str) -> None:
    made = plan(SELF, f"teacher={teacher}", "student.recipe.steps=null", "student.recipe.epochs=2")
    (first,) = made.specs.links
    assert (first.node, first.lesson, first.part) == (made.specs.student.node, None, "train")
    assert first.recipe.steps == made.student_steps() == 2 * made.settings.student.recipe.steps_per_epoch(1197)
    assert made.specs.student.lesson is not None
    assert (made.specs.student.part, made.specs.student.lesson.teachers) == ("transfer", (first,))
    rest = "; mlp 32 teaches nobody" if teacher == "mlp" else ""
    told = f"strategy=self_training: mlp 32 learns from the labels, the student mlp 32 from mlp 32{rest}"
    assert told in described(made)


def test_job__more_samples_in_a_batch_than_labels(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    expected = r"^student\.recipe\.batch_size=128: larger than the 100 samples"
    with pytest.raises(UserError, match=expected):
        kd_lab.distil(SELF, "teacher=none", "baseline=false", "student.recipe.batch_size=128", quiet=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_job__without_a_teacher(tmp_path, monkeypatch, empty_store) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mlflow.db").write_bytes(empty_store.read_bytes())
    short = [SELF, "teacher=none", "baseline=false", "student.recipe.steps=4", "measure.latency_runs=1"]
    first, again = (kd_lab.distil(*short, quiet=True) for _ in range(2))
    assert [one.role for one in first.all()] == [names.ASSISTANT, names.STUDENT]
    assert [one.reused for one in again.all()] == [True, False]
    assert first.student.weights_sha256 == again.student.weights_sha256
    assert first.student.measurement[names.COST_TEACHER_SAMPLES] == 4 * 64, "no whole epoch: answered as it comes"
