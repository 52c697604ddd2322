import math
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kd_lab.losses.common.loss import Loss
from kd_lab.losses.kd import KD
from kd_lab.losses.soft_label import SoftLabel
from kd_lab.training.objective import Objective, Term
from kd_lab.types import UNLABELLED, Batch, LossTerms, Outputs, Share
from tests.reference import losses_numpy as reference

B, K = 6, 5


class Projected(Loss):
    """A loss that trains something of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.projector = nn.Linear(K, K)

    def compute(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        return (self.projector(student.logits) - teacher.logits).square().mean()


def share(hard: float, soft: float) -> Share:
    return Share(torch.tensor(hard, dtype=torch.float64), torch.tensor(soft, dtype=torch.float64))


def logits(seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return 2 * torch.randn(B, K, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def batch(targets: list[int | None]) -> Batch:
    known = torch.tensor([UNLABELLED if t is None else t for t in targets])
    return Batch(inputs=torch.zeros(len(targets), 3), targets=known, index=torch.arange(len(targets)))


ALL: list[int | None] = [0, 1, 2, 3, 4, 0]
SOME: list[int | None] = [0, None, 2, None, None, 4]
NONE: list[int | None] = [None] * B


def hard_only(targets: list[int | None], student: Tensor, **settings: Any) -> LossTerms:
    return Objective({}, hard_weight=1.0, **settings)(Outputs(student), None, batch(targets))


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
@pytest.mark.parametrize("targets", [ALL, SOME], ids=["all", "some"])
def test_hard_term__is_the_mean_over_labelled_points(targets: list[int | None], label_smoothing: float) -> None:
    student = logits(0)

    result = hard_only(targets, student, label_smoothing=label_smoothing)

    expected = reference.cross_entropy(student.numpy(), targets, label_smoothing)
    assert result.terms["hard"].item() == pytest.approx(expected, rel=1e-12)
    assert result.total.item() == pytest.approx(expected, rel=1e-12)


def test_hard_term__unlabelled_points_get_no_gradient() -> None:
    student = logits(0).requires_grad_()

    hard_only(SOME, student).total.backward()

    assert student.grad is not None
    assert (student.grad.abs().sum(1) > 0).tolist() == [t is not None for t in SOME]


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_hard_term__no_label_in_the_batch_is_zero_with_zero_gradient(label_smoothing: float) -> None:
    student = logits(0).requires_grad_()

    result = hard_only(NONE, student, label_smoothing=label_smoothing)
    result.total.backward()

    assert result.terms["hard"].item() == 0
    assert student.grad is not None
    assert torch.equal(student.grad, torch.zeros(B, K, dtype=torch.float64))


def test_hard_term__a_batch_with_and_one_without_unlabelled_points_agree() -> None:
    """The two code paths: rows that carry no label change nothing."""
    student = logits(0).requires_grad_()
    rows = torch.tensor([0, 2, 5])
    (few,) = torch.autograd.grad(hard_only([0, 2, 4], student[rows]).total, student)
    (some,) = torch.autograd.grad(hard_only(SOME, student).total, student)

    torch.testing.assert_close(few, some, rtol=1e-12, atol=1e-15)


def test_hard_term__nan_logits_are_not_hidden() -> None:
    assert hard_only(SOME, torch.full((B, K), math.nan)).total.isnan()


@pytest.mark.parametrize("targets", [ALL, SOME], ids=["all", "some"])
@pytest.mark.parametrize("enabled", [True, False], ids=["autocast", "plain"])
def test_hard_term__half_precision_is_computed_in_float32(targets: list[int | None], enabled: bool) -> None:
    student = logits(0).bfloat16()

    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
        value = hard_only(targets, student).total

    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(reference.cross_entropy(student.double().numpy(), targets), rel=1e-6)


def test_total__is_the_weighted_sum_of_the_terms() -> None:
    student, teacher = logits(0), logits(1)
    objective = Objective(
        {"kd": Term(KD(temperature=2.0), 0.7), "soft_label": Term(SoftLabel(), 3.0)}, hard_weight=0.25
    )

    result = objective(Outputs(student), Outputs(teacher), batch(SOME))

    z_s, z_t = student.numpy(), teacher.numpy()
    parts = {
        "hard": reference.cross_entropy(z_s, SOME),
        "kd": reference.kd(z_s, z_t, 2.0),
        "soft_label": reference.soft_label(z_s, z_t),
    }
    assert {name: term.item() for name, term in result.terms.items()} == pytest.approx(parts, rel=1e-9)
    expected = 0.25 * parts["hard"] + 0.7 * parts["kd"] + 3.0 * parts["soft_label"]
    assert result.total.item() == pytest.approx(expected, rel=1e-9)


def test_total__gradient_is_the_weighted_sum_of_the_gradients() -> None:
    student, teacher = logits(0).requires_grad_(), logits(1)
    objective = Objective({"kd": Term(KD(temperature=2.0), 0.7)}, hard_weight=0.25)

    (gradient,) = torch.autograd.grad(objective(Outputs(student), Outputs(teacher), batch(ALL)).total, student)

    z = student.detach().numpy()
    hard = reference.central_difference(lambda s: reference.cross_entropy(s, ALL), z)
    soft = reference.kd_gradient(z, teacher.numpy(), 2.0)
    torch.testing.assert_close(gradient, torch.from_numpy(0.25 * hard + 0.7 * soft), rtol=1e-5, atol=1e-8)


def test_total__hard_weight_zero_leaves_the_cross_entropy_out() -> None:
    student, teacher = logits(0), logits(1)
    objective = Objective({"kd": Term(KD(), 1.0)}, hard_weight=0.0)

    result = objective(Outputs(student), Outputs(teacher), batch(NONE))

    assert list(result.terms) == ["kd"]
    assert result.total.item() == pytest.approx(reference.kd(student.numpy(), teacher.numpy(), 4.0), rel=1e-9)


def test_total__soft_term_of_weight_zero_is_reported_and_not_counted() -> None:
    student, teacher = logits(0), logits(1)
    objective = Objective({"kd": Term(KD(), 0.0)}, hard_weight=1.0)

    result = objective(Outputs(student), Outputs(teacher), batch(ALL))

    assert result.terms["kd"].item() == pytest.approx(reference.kd(student.numpy(), teacher.numpy(), 4.0), rel=1e-9)
    assert result.total.item() == pytest.approx(reference.cross_entropy(student.numpy(), ALL), rel=1e-9)


def test_share__changes_the_total_and_not_the_terms() -> None:
    student, teacher, objective = Outputs(logits(0)), Outputs(logits(1)), Objective({"kd": Term(KD(), 0.9)}, 0.1)
    plain = objective(student, teacher, batch(ALL))

    scaled = objective(student, teacher, batch(ALL)._replace(share=share(3.0, 0.5)))

    assert {n: t.item() for n, t in scaled.terms.items()} == {n: t.item() for n, t in plain.terms.items()}
    expected = 0.1 * 3.0 * plain.terms["hard"] + 0.9 * 0.5 * plain.terms["kd"]
    torch.testing.assert_close(scaled.total, expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("targets", [ALL, SOME, [None, None, None, None, 1, None]], ids=["all", "some", "one_rank"])
def test_share__mean_of_two_uneven_ranks_is_the_global_gradient(targets: list[int | None]) -> None:
    objective = Objective({"kd": Term(KD(), 0.9)}, hard_weight=0.1)
    student, teacher = logits(0).requires_grad_(), logits(1)
    (expected,) = torch.autograd.grad(objective(Outputs(student), Outputs(teacher), batch(targets)).total, student)

    labelled = sum(t is not None for t in targets)
    total = torch.zeros((), dtype=torch.float64)
    for rows in (slice(0, 4), slice(4, B)):
        local = batch(targets[rows])
        known = int((local.targets != UNLABELLED).sum())
        own = local._replace(share=share(2 * known / labelled, 2 * len(local.targets) / B))
        result = objective(Outputs(student[rows]), Outputs(teacher[rows]), own)
        total = total + result.total / 2
    (gradient,) = torch.autograd.grad(total, student)

    torch.testing.assert_close(gradient, expected, rtol=1e-12, atol=1e-15)


def test_terms__what_a_loss_trains_is_in_parameters_and_state_and_gets_a_gradient() -> None:
    objective = Objective({"projected": Term(Projected(), 0.5)}, hard_weight=0.0)

    objective(Outputs(logits(0, torch.float32)), Outputs(logits(1, torch.float32)), batch(ALL)).total.backward()

    assert set(objective.state_dict()) == {"losses.projected.projector.weight", "losses.projected.projector.bias"}
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in objective.parameters())


def test_objective__pickles() -> None:
    objective = Objective({"kd": Term(KD(temperature=2.0), 0.7)}, hard_weight=0.25, label_smoothing=0.1)
    arguments = (Outputs(logits(0)), Outputs(logits(1)), batch(SOME))

    copy = pickle.loads(pickle.dumps(objective))

    assert torch.equal(copy(*arguments).total, objective(*arguments).total)


def test_objective__print_shows_the_weights() -> None:
    shown = repr(Objective({"kd": Term(KD(temperature=2), 0.9)}, hard_weight=0.1))

    assert "hard_weight=0.1, weights={'kd': 0.9}, label_smoothing=0.0" in shown
    assert "(kd): KD(temperature=2.0)" in shown


def test_forward__soft_term_without_teacher_is_refused() -> None:
    objective = Objective({"kd": Term(KD(), 1.0)}, hard_weight=0.0)

    with pytest.raises(ValueError, match=r"Expected a teacher for the term `kd`, but got None\."):
        objective(Outputs(logits(0)), None, batch(ALL))


@pytest.mark.parametrize("weight", [-1.0, math.nan, math.inf])
def test_objective__bad_weight_is_refused(weight: float) -> None:
    with pytest.raises(ValueError, match=rf"Expected `hard_weight` to be a finite number >= 0, but got {weight}\."):
        Objective({"kd": Term(KD(), 1.0)}, hard_weight=weight)
    with pytest.raises(ValueError, match=rf"`weight` of the term `kd` to be a finite number >= 0, but got {weight}\."):
        Objective({"kd": Term(KD(), weight)}, hard_weight=1.0)


def test_objective__nothing_to_minimise_is_refused() -> None:
    with pytest.raises(ValueError, match=r"at least one weight to be > 0, .* and the `weight` of `kd`\."):
        Objective({"kd": Term(KD(), 0.0)}, hard_weight=0.0)
    with pytest.raises(ValueError, match=r"at least one weight to be > 0, .* and there is no soft term\."):
        Objective({}, hard_weight=0.0)


@pytest.mark.parametrize("label_smoothing", [-0.1, 1.0, math.nan])
def test_objective__bad_label_smoothing_is_refused(label_smoothing: float) -> None:
    with pytest.raises(ValueError, match=rf"`label_smoothing` to be in \[0, 1\), but got {label_smoothing}\."):
        Objective({}, hard_weight=1.0, label_smoothing=label_smoothing)


@pytest.mark.parametrize("name", ["hard", "total"])
def test_objective__reserved_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=rf"Expected another name for the term `{name}`"):
        Objective({name: Term(KD(), 1.0)}, hard_weight=1.0)


@pytest.mark.parametrize("name", ["a.b", "a/b", "items", "training", ""])
def test_objective__name_that_cannot_be_a_submodule_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=rf"as the name of a term, but got `{name}`\."):
        Objective({name: Term(KD(), 1.0)}, hard_weight=1.0)


# Layers, standardized logits, schedules.


class Summed(Loss):
    """The first feature of the student plus ten times the first of the teacher, summed: shows what it is given."""

    def compute(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        return student.features[0].sum() + 10 * teacher.features[0].sum()


def test_terms__each_loss_sees_its_own_layers_in_its_own_order() -> None:
    features = tuple(torch.full((B, 1), float(10**i)) for i in range(3))
    student, teacher = Outputs(logits(0), features), Outputs(logits(1), features)
    terms = {
        "a": Term(Summed(), 1.0, student_slots=(2, 0), teacher_slots=(1,)),
        "b": Term(Summed(), 1.0, False, (1,), (0,)),
    }

    found = Objective(terms, 0.0)(student, teacher, batch(ALL)).terms

    assert {name: value.item() for name, value in found.items()} == {"a": B * (100 + 100), "b": B * (10 + 10)}


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_standardize__kd_of_z_scores_with_the_sample_deviation(scale: float) -> None:
    """Sun et al. 2024: both logits are z-scored over the classes (n - 1), before the temperature."""
    student, teacher = scale * logits(0), scale * logits(1)
    objective = Objective({"kd": Term(KD(temperature=2.0), 1.0, standardize=True)}, 0.0)

    value = objective(Outputs(student), Outputs(teacher), batch(ALL)).total

    z_s, z_t = ((z - z.mean(1, keepdims=True)) / (z.std(1, ddof=1, keepdims=True) + 1e-7)
                for z in (student.numpy(), teacher.numpy()))  # fmt: skip
    assert value.item() == pytest.approx(reference.kd(z_s, z_t, 2.0), rel=1e-9)


def test_standardize__is_a_transform_of_any_loss_of_logits_and_of_the_second_view() -> None:
    seen: list[Outputs] = []

    class Spying(Loss):
        def compute(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
            seen.extend([student, teacher])
            return student.logits.sum()

    strong = Outputs(logits(0), views=(logits(2),))
    Objective({"x": Term(Spying(), 1.0, standardize=True)}, 0.0)(strong, strong, batch(ALL))

    for outputs in seen:
        for z in (outputs.logits, *outputs.views):
            torch.testing.assert_close(z.mean(1), torch.zeros(B, dtype=torch.float64), rtol=0, atol=1e-12)
            torch.testing.assert_close(z.std(1), torch.ones(B, dtype=torch.float64), rtol=0, atol=1e-6)


def test_standardize__logits_that_are_all_equal_have_a_finite_gradient() -> None:
    student = torch.zeros(B, K, requires_grad=True)
    objective = Objective({"kd": Term(KD(), 1.0, standardize=True)}, 0.0)

    objective(Outputs(student), Outputs(logits(1)), batch(ALL)).total.backward()

    assert student.grad is not None
    assert student.grad.isfinite().all()


def falling(step: int, *, base: float, total_steps: int) -> float:
    return base * (1 - step / total_steps)


def test_schedules__move_the_weight_the_temperature_and_the_hard_weight_from_their_base() -> None:
    term = Term(KD(temperature=4.0), 2.0, schedules={"weight": falling, "temperature": falling})
    objective = Objective({"kd": term}, hard_weight=0.8, hard_schedule=falling)
    student, teacher = logits(0), logits(1)

    for step, share in ((0, 1.0), (2, 0.5), (1, 0.75)):  # from the base each time, in any order
        objective.at_step(step, 4)
        result = objective(Outputs(student), Outputs(teacher), batch(ALL))
        kd = reference.kd(student.numpy(), teacher.numpy(), 4 * share)
        hard = reference.cross_entropy(student.numpy(), ALL)
        assert result.terms["kd"].item() == pytest.approx(kd, rel=1e-9)
        assert result.total.item() == pytest.approx(2 * share * kd + 0.8 * share * hard, rel=1e-9)
        expected = {"kd_weight": 2 * share, "kd_temperature": 4 * share, "hard_weight": 0.8 * share}
        assert objective.readings() == pytest.approx(expected)


def test_schedules__a_hard_weight_at_zero_keeps_its_curve() -> None:
    objective = Objective({"kd": Term(KD())}, hard_weight=0.5, hard_schedule=falling)
    objective.at_step(4, 4)

    result = objective(Outputs(logits(0)), Outputs(logits(1)), batch(ALL))

    assert list(result.terms) == ["hard", "kd"]
    assert result.total.item() == result.terms["kd"].item()


def test_schedules__what_is_no_number_of_the_loss_is_refused() -> None:
    message = r"Expected the schedule of the term `kd` to move one of weight, temperature, but got temprature\."
    with pytest.raises(ValueError, match=message):
        Objective({"kd": Term(KD(), schedules={"temprature": falling})}, 1.0)


class Labelled(Loss):
    """A mean over labelled samples."""

    needs_teacher = False
    labelled_only = True

    def compute(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        return student.logits.sum()


class Gathering(Labelled):
    """A loss that has seen all processes."""

    labelled_only = False
    gather = True


@pytest.mark.parametrize(("loss", "factor"), [(Labelled(), 3.0), (Gathering(), 1.0), (Summed(), 5.0)])
def test_share__follows_what_a_loss_is_a_mean_of(loss: Loss, factor: float) -> None:
    outputs = Outputs(logits(0), (logits(2),))
    objective = Objective({"x": Term(loss, 2.0, student_slots=(0,), teacher_slots=(0,))}, 0.0)

    result = objective(outputs, outputs, batch(SOME)._replace(share=share(3.0, 5.0)))

    torch.testing.assert_close(result.total, 2.0 * factor * result.terms["x"])


def test_controls__need_no_teacher_and_others_say_so() -> None:
    result = Objective({"x": Term(Labelled())}, 0.0)(Outputs(logits(0)), None, batch(ALL))
    assert result.total.item() == pytest.approx(logits(0).sum().item())
    with pytest.raises(ValueError, match="Expected a teacher for the term `kd`, but got None"):
        Objective({"kd": Term(KD())}, 0.0)(Outputs(logits(0)), None, batch(ALL))
    with pytest.raises(ValueError, match="Expected a teacher for KD, but got None"):
        KD()(Outputs(logits(0)), None, batch(ALL))


@pytest.mark.parametrize("targets", [ALL, SOME])
def test_objective__class_weights__each_label_counts_as_much(targets: list[int | None]) -> None:
    """The mean over labelled samples of weight times cross-entropy, not torch's mean over the weights of a batch."""
    weights, student = torch.tensor([0.5, 2.0, 0.0, 1.0, 3.0], dtype=torch.float64), logits(0)
    found = hard_only(targets, student, class_weights=weights).terms["hard"]
    logs = student.log_softmax(1)
    expected = [-float(weights[y] * logs[i, y]) for i, y in enumerate(targets) if y is not None]
    assert float(found) == pytest.approx(sum(expected) / len(expected), rel=1e-12)


def test_objective__class_weights_of_1__the_same_gradient() -> None:
    one, other = (logits(0).requires_grad_() for _ in range(2))
    hard_only(ALL, one).total.backward()
    hard_only(ALL, other, class_weights=torch.ones(K, dtype=torch.float64)).total.backward()
    torch.testing.assert_close(one.grad, other.grad)
