import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from kd_lab import names
from kd_lab.errors import UserError
from kd_lab.job.answers import Around
from kd_lab.job.distil import distil
from kd_lab.job.plan import Built, Plan
from kd_lab.models.common.grafted import Grafted
from tests.contracts.plugins import with_target
from tests.job.composed import CNNS, OF_TEXTS, plan, settings
from tests.training.toys import Lines

SHORT = ["student.recipe.steps=3", "student.recipe.batch_size=64", "teacher.cache=memory"]
NOWHERE = Around(Path("/nowhere"), lambda _: nullcontext(), str)
STAGE = "stage_epochs"
POOLED = ["teacher._target_=tests.job.nets.Pooled", "student._target_=tests.job.nets.Pooled", "tuned/loss=none"]
FEWER_CHANNELS = "+student.channels=[6,10]"
EQUAL_CHANNELS = {"cwd", "fsp", "kdsvd", "pkd"}


def bound(*overrides: str) -> tuple[Plan, Built]:
    made = plan(*overrides)
    assert made.built is not None
    return made, made.built


def told(*overrides: str) -> list[str]:
    return bound(*overrides)[1].bound.described()


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted({*with_target("loss")} - OF_TEXTS))
def test_distil__every_loss_trains_on_two_cnns_its_own_parts_too(name: str) -> None:
    """Each part of each loss is in the optimizer, gets a gradient, and moves; the student learns, hooks are gone."""
    staged = STAGE in settings(f"loss={name}", *POOLED).loss.terms[name].node
    line = [f"loss={name}", *POOLED, *SHORT, *([f"loss.{STAGE}=1"] if staged else [])]
    fewer = [] if name in EQUAL_CHANNELS else [FEWER_CHANNELS]
    made, built = bound(*line, *fewer)
    binding, student, teacher = built.bound, built.student, built.teacher
    assert teacher is not None
    parts = dict(binding.objective.named_parameters())
    trained = {n: p for n, p in [*student.named_parameters(), *parts.items()] if p.requires_grad}
    before = {n: p.detach().clone() for n, p in trained.items()}
    frozen = {n: v.clone() for n, v in teacher.state_dict().items()}

    cost = distil(made, student, Lines(), NOWHERE)

    assert any(not torch.equal(before[n], p) for n, p in trained.items())
    stuck = [n for n in parts if n in before and torch.equal(before[n], trained[n])]
    assert not stuck
    assert all(torch.equal(frozen[n], v) for n, v in teacher.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in teacher.modules())
    assert cost[names.COST_TRAIN_STEPS] >= 3


def test_pairs__are_proposed_and_told() -> None:
    assert told("loss=at", *CNNS) == [
        "at: features.2 [8, 8, 8] learns from features.2 [32, 8, 8]",
        "at: features.5 [16, 8, 8] learns from features.5 [64, 8, 8]",
    ]


def test_pairs__named_for_all_losses_and_for_one() -> None:
    layers = ["teacher.layers=[features.4]", "student.layers=[features.5]"]

    assert told("loss=[at,fitnet]", *CNNS, *layers) == [
        "at: features.5 [16, 8, 8] learns from features.4 [64, 8, 8]",
        "fitnet: features.5 [16, 8, 8] learns from features.4 [64, 8, 8]",
    ]
    own = ["loss.terms.fitnet.teacher_layers=[features.2]", "loss.terms.fitnet.student_layers=[features.0]"]
    assert told("loss=[at,fitnet]", *CNNS, *layers, *own)[1] == (
        "fitnet: features.0 [8, 8, 8] learns from features.2 [32, 8, 8]"
    )


def test_pairs__layers_named_for_a_loss_that_compares_none_are_told() -> None:
    assert told("loss=kd", "teacher.layers=[features.5]", *CNNS) == [
        "teacher.layers is not used: loss=kd compares no layers"
    ]


def test_pairs__a_layer_of_two_losses_is_heard_once() -> None:
    binding = bound("loss=[at,fitnet]", *CNNS)[1].bound

    assert [tap.name for tap in binding.student_taps] == ["features.2", "features.5"]
    terms = binding.objective.terms
    assert (terms["at"].student_slots, terms["fitnet"].student_slots) == ((0, 1), (0,))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["teacher.layers=[features.2]"],
            r"loss\.terms\.at: expected layers of both networks or of none, but only teac",
        ),
        (
            ["teacher.layers=[feature.2]", "student.layers=[features.2]"],
            r"loss\.terms\.at: the teacher has no layer feature\.2; did you mean features\.2\?",
        ),
        (
            ["teacher.layers=[classifier.0]", "student.layers=[features.2]"],
            r"loss\.terms\.at: Expected both layers of a pair to be maps .* but got \[8, 8, 8\] and \[128\]; compared "
            r"were features\.2 \[8, 8, 8\] learns from classifier\.0 \[128\]; the student has features\.0 \[8, 8, 8\]",
        ),
        (["teacher.layers=features.2"], r"teacher\.layers=features\.2: expected a .*list"),
        (
            ["loss.standardize=true"],
            r"loss\.terms\.at\.standardize=true: at compares layers; expected a loss of the log",
        ),
        (
            ["loss.schedules.wait=cosine"],
            r"loss: Expected the schedule of the term `at` to move one of weight, but got w",
        ),
        (["loss.wieght=3"], r"loss\.wieght=3: loss=at has no such key; did you mean weight\?"),
    ],
)
def test_mistakes__are_a_sentence(overrides: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        plan("loss=at", *CNNS, *overrides)


def test_mistakes__a_class_that_is_no_loss() -> None:
    with pytest.raises(UserError, match=r"loss\.terms\.kd\._target_=torch\.nn\.Linear: expected a class derived from"):
        plan("loss.terms.kd._target_=torch.nn.Linear", "~loss.terms.kd.temperature")


def test_mistakes__a_network_without_a_classifier() -> None:
    with pytest.raises(UserError, match=r"simkd: the teacher has no single linear classifier .* such as teacher=cnn"):
        plan("loss=simkd")


def test_deployed__simkds_student_is_rebuilt_from_json_and_is_trained_through_the_teachers_classifier() -> None:
    made, built = bound("loss=simkd", *CNNS, *SHORT)
    student, teacher = built.student, built.teacher
    assert isinstance(student, Grafted)
    distil(made, student, Lines(), NOWHERE)
    assert torch.equal(student.head.weight, teacher.classifier[3].weight)
    assert built.bound.described() == ["simkd: projector [128] learns from classifier.3:input [128]"]

    node = json.loads(json.dumps(built.student_node))
    again = made.network(replace(made.specs.student, node=node))

    assert again.state_dict().keys() == student.state_dict().keys()


def test_seed__fixes_the_initial_weights_of_a_losss_parts() -> None:
    first, again, other = (
        bound("loss=fitnet", *CNNS, f"seed={seed}")[1].bound.objective.state_dict() for seed in (3, 3, 4)
    )

    assert all(torch.equal(first[k], again[k]) for k in first)
    assert not torch.equal(first["losses.fitnet.regressor.0.weight"], other["losses.fitnet.regressor.0.weight"])


def test_student__has_the_same_initial_weights_whatever_the_loss() -> None:
    """Or a difference to the baseline would be one of luck."""
    plain, projected = (bound(f"loss={name}", *CNNS)[1].student.state_dict() for name in ("kd", "fitnet"))
    deployed = bound("loss=simkd", *CNNS)[1].student.student.state_dict()

    assert all(torch.equal(plain[k], projected[k]) for k in plain)
    assert all(torch.equal(plain[k], deployed[k]) for k in deployed)


def test_schedules__by_name_replace_what_the_loss_was_published_with() -> None:
    published = settings("loss=dkd", "tuned/loss=none").loss.terms["dkd"].schedules["weight"]
    chosen = settings("loss=dkd", "loss.schedules.weight=cosine", "loss.schedules.weight.final=0.5").loss.terms["dkd"]
    none = settings("loss=dkd", "loss.schedules.weight=null").loss.terms["dkd"]

    assert published["_target_"] == "kd_lab.schedules.constant.constant"
    assert published["warmup_steps"] == pytest.approx(20 / 240, abs=1e-3)
    assert chosen.schedules["weight"]["_target_"] == "kd_lab.schedules.cosine.cosine"
    assert chosen.schedules["weight"]["final"] == 0.5
    assert none.schedules == {}


def test_schedules__of_a_term_among_several_and_of_the_hard_weight() -> None:
    made = settings(
        "loss=[kd,at]", "loss.terms.kd.schedules.temperature=cosine", "loss.schedules.hard_weight=constant", *CNNS[:3]
    ).loss

    assert list(made.terms["kd"].schedules) == ["temperature"]
    assert made.hard_schedule is not None


def test_controls__train_on_labelled_points_as_the_baseline_does() -> None:
    distilled, none = plan("loss=kd"), plan("loss=none", "teacher=none")

    assert len(distilled.student_rows()) == 1197
    assert len(none.student_rows()) == 100
