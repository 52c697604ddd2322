"""Recipe settings as a command line gives them: what is told, what is refused, whose they are."""

from pathlib import Path

import pytest
import torch

from kd_lab import names
from kd_lab.errors import UserError
from kd_lab.job.answers import Around, check, kept
from kd_lab.job.distil import distil
from kd_lab.job.lessons import Lessons
from kd_lab.job.recipes import described
from kd_lab.mixing.cutmix import CutMix
from kd_lab.teachers.cached import CachedTeacher
from kd_lab.training.recipe import Recipe
from tests.contracts.plugins import with_target
from tests.job.composed import CNNS, plan, settings
from tests.job.test_answers import Surroundings
from tests.training.toys import Lines

MIX = "student/recipe/mix=mixup"
OPTIMIZER = "student.recipe.optimizer"


def recipe(*overrides: str) -> Recipe:
    made = plan(*overrides)
    return made.recipe("student.recipe", made.settings.student.recipe, len(made.student_rows()))


def test_recipe__reaches_the_training() -> None:
    found = recipe(
        "student/recipe/mix=cutmix",
        "student.recipe.accumulate=4",
        "baseline.recipe.accumulate=1",
        "student.recipe.ema=0.99",
        "student.recipe.no_decay=true",
    )
    assert not found.by_length
    assert isinstance(found.mix, CutMix)
    assert (found.accumulate, found.ema, found.no_decay, found.step_size) == (4, 0.99, True, 256)


def test_recipe__as_it_is_by_default() -> None:
    found = recipe()
    assert (found.mix, found.accumulate, found.ema, found.no_decay) == (None, 1, None, False)


def test_recipe__an_epoch_has_so_many_optimizer_steps() -> None:
    """1197 points: 19 batches of 64, 5 steps of four of them."""
    found = recipe("student.recipe.epochs=3", "student.recipe.accumulate=4", "baseline.recipe.accumulate=1")
    assert found.steps == 15
    made = plan("student.recipe.epochs=3", "student.recipe.accumulate=4", "baseline.recipe.accumulate=1")
    assert made.student_steps() == made.baseline_recipe().steps == 15


def test_baseline__is_as_the_student_but_for_what_is_its_own() -> None:
    said = [MIX, "student.recipe.ema=0.9", "student.recipe.no_decay=true", "student.recipe.accumulate=2"]
    alike = plan(*said).baseline_recipe()
    assert (alike.mixes, alike.ema, alike.no_decay, alike.accumulate) == (True, 0.9, True, 2)
    own = ["baseline.recipe.ema=0", "baseline.recipe.no_decay=false", "+mix@baseline.recipe.mix=none"]
    other = plan(*said, *own).baseline_recipe()
    assert (other.mixes, other.ema, other.no_decay, other.accumulate) == (False, 0.0, False, 2)


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ("student.recipe.accumulate=0", r"student\.recipe\.accumulate=0: expected a value greater than 0"),
        ("student.recipe.ema=1", r"student\.recipe\.ema=1: expected a value less than 1"),
        ("student.recipe.no_decay=some", r"student\.recipe\.no_decay=some: expected a valid boolean"),
        (
            "student.recipe.accumulate=20",
            r"student\.recipe\.accumulate=20: so many batches of 64 are more than the 1197 samples they are "
            "drawn from; expected at most 18",
        ),
        (
            "baseline.recipe.accumulate=9",
            r"baseline\.recipe\.accumulate=9: so many batches of 32 are more than the 100 .* expected at most 3",
        ),
    ],
)
def test_recipe__what_is_wrong_is_a_sentence(said: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        plan(said, "baseline.recipe.batch_size=32")


@pytest.mark.parametrize("loss", ["dkd", "nkd", "wsld", "tf_kd", "label_smoothing", "ps_kd"])
def test_mix__a_loss_that_reads_labels_is_refused(loss: str) -> None:
    with pytest.raises(UserError, match=rf"Mixup: loss={loss} reads the label of each sample, and these are two"):
        plan(MIX, f"loss={loss}")


def test_mix__a_loss_that_remembers_samples_is_refused() -> None:
    with pytest.raises(UserError, match=r"Mixup: loss=crd remembers each sample, and these are two samples in"):
        plan(MIX, "loss=crd", *CNNS)


@pytest.mark.parametrize("cache", ["memory", "disk"])
def test_mix__answers_to_mixed_samples_are_not_kept(cache: str, tmp_path: Path) -> None:
    sentence = (
        rf"teacher\.cache={cache}: every step mixes its samples anew \(student\.recipe\.mix\); expected .*=off here"
    )
    with pytest.raises(UserError, match=sentence):
        check(plan(MIX, "teacher=mlp", f"teacher.cache={cache}"), tmp_path)


def test_mix__the_teacher_answers_in_every_step_and_that_is_told(tmp_path: Path) -> None:
    made, here = plan(MIX, "teacher=mlp"), Surroundings(tmp_path)
    assert made.built is not None
    assert made.built.teacher is not None
    teacher = kept(Lessons.of(made, made.built.teacher), here.around)
    assert not isinstance(teacher, CachedTeacher)
    assert here.lines == [
        "teacher.cache=auto: the teacher answers in every step, because every step mixes its samples anew "
        "(student.recipe.mix)"
    ]


def test_told__what_is_not_as_usual() -> None:
    assert described(plan()) == []
    assert described(plan("loss=rkd", MIX, "student.recipe.accumulate=2", "student.recipe.ema=0.99", *CNNS)) == [
        "student: 2 batches of 64 to an optimizer step",
        "student: learns from pairs of samples that Mixup makes one, and from no sample by itself",
        "student: the moving average of its weights is kept, over about the last 100 of 2,033 steps",
        "rkd compares the samples of one batch of 64, not of all 128 of a step",
    ]


def test_told__settings_without_effect_and_averages_that_are_too_long() -> None:
    assert described(plan("teacher.recipe.no_decay=true", "student.recipe.ema=0.999", "student.recipe.steps=100")) == [
        "teacher.recipe.no_decay is not used: there is no weight decay to spare biases and norms",
        "student: the moving average of its weights is kept, over about the last 1,000 of 100 steps; it ends near its "
        "beginning, which ema=0.9 would not",
    ]


@pytest.mark.parametrize("loss", ["dkd", "review"])
def test_weight__warms_up_over_a_twelfth_of_the_training(loss: str) -> None:
    """As published: linear over 20 of 240 epochs, then as it is; here over 5 of 60 steps."""
    made = plan(f"loss={loss}", *CNNS, "student.recipe.steps=60", "loss.weight=2")
    assert made.built is not None
    objective, found = made.built.bound.objective, []
    for step in range(60):
        objective.at_step(step, 60)
        found.append(objective.readings()[f"{loss}_weight"])
    assert found[:6] == pytest.approx([2 * (n + 1) / 6 for n in range(6)])
    assert found[6:] == [2.0] * 54


def test_weight__of_any_loss_warms_up_by_a_setting() -> None:
    made = plan("loss=kd", "loss.schedules.weight=constant", "loss.schedules.weight.warmup_steps=3", "loss.weight=4")
    assert made.built is not None
    objective = made.built.bound.objective
    found = []
    for step in range(5):
        objective.at_step(step, 10)
        found.append(objective.readings()["kd_weight"])
    assert found == [1.0, 2.0, 3.0, 4.0, 4.0]


def test_function_matching__is_the_published_recipe() -> None:
    made = plan("experiment=function_matching")
    found = made.recipe("student.recipe", made.settings.student.recipe, 100)
    assert (found.mix.alpha, found.augment, found.clip_norm, found.steps) == (1.0, True, 1.0, 20_000)  # type: ignore[union-attr]
    assert made.settings.loss.hard_weight == 0
    (term,) = made.settings.loss.terms.values()
    assert (term.weight, term.node["temperature"]) == (1.0, 1.0)


def test_function_matching__trains_on_the_digits(tmp_path: Path) -> None:
    made = plan(
        "experiment=function_matching",
        "teacher=mlp",
        "student.recipe.steps=30",
        "student.recipe.schedule.warmup_steps=0",
    )
    assert made.built is not None
    sink, told = Lines(), Surroundings(tmp_path)
    before = [p.detach().clone() for p in made.built.student.parameters()]
    cost = distil(made, made.built.student, sink, Around(tmp_path, told.lock, told.lines.append))
    assert cost[names.COST_TRAIN_STEPS] == 30
    assert all(not torch.equal(a, b) for a, b in zip(before, made.built.student.parameters(), strict=True))
    assert "train/loss_hard" not in sink.points[-1][1]


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (["student/recipe/optimizer=sgd", f"{OPTIMIZER}.nesterov=true"], torch.optim.SGD),
        (
            ["student/recipe/optimizer=custom", "student.recipe.optimizer._target_=torch.optim.RMSprop"],
            torch.optim.RMSprop,
        ),
    ],
)
def test_optimizer__nesterov_and_any_class_are_settings(said: list[str], kind: type) -> None:
    built = recipe(*said).build_optimizer(torch.nn.Linear(2, 2))
    assert type(built) is kind
    assert built.param_groups[0].get("nesterov", True) is True


def test_mix__every_one_is_a_choice_for_both_networks() -> None:
    for name in with_target("mix"):
        found = settings(f"student/recipe/mix={name}", f"teacher/recipe/mix={name}")
        assert found.teacher is not None
        assert found.student.recipe.mixes
        assert found.teacher.recipe.mixes
