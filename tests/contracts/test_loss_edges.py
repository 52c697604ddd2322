"""Where numbers or shapes leave the ordinary, every loss says something finite or says why it cannot."""

import math

import pytest
import torch
from torch import Tensor

from kd_lab.types import Batch, Outputs
from tests.contracts.loss_cases import (
    BATCH,
    CLASSES,
    NAMES,
    Case,
    Shapes,
    default_settings,
    every,
    file_of_tests,
    is_finite,
    kind,
    make,
    mapped,
    shapes_of,
)

OF_LOGITS = [n for n in NAMES if kind(n).layers is None]
OF_LAYERS = [n for n in NAMES if kind(n).layers is not None]
OF_TWO = [n for n in OF_LOGITS if kind(n).needs_teacher]
OF_MAPS = [n for n in NAMES if kind(n).maps]
WITH_PARTS = [n for n in NAMES if any(True for _ in make(n).parameters())]

EXCLUDED = 3
"""A class between the others, whose logit is -inf for both networks."""

REFUSED = {
    "mse_logits": "two excluded classes have no difference",
    "ps_kd": "PSKD multiplies a remembered probability",
    "label_smoothing": "Expected LabelSmoothing to be finite, but got a class with a logit of -inf",
    "tf_kd": "Expected TFKD to be finite, but got a class with a logit of -inf",
}

COMPARES_PLACES = ("at", "nst", "cwd", "catkd")

SUM_OVER_CLASSES = ("kd", "soft_label", "hard_label", "dkd", "nkd", "jsd", "reverse_kl", "alpha_divergence", "skew_kl")
"""Of these it is known that a class of probability 0 changes nothing; DIST and MLLD have it among their K columns."""

ALMOST = -1e4
"""A logit whose probability is 0 in float32 and float64, and whose logarithm is a number."""


def with_excluded(logits: Tensor, said: float = -math.inf) -> Tensor:
    nothing = torch.full_like(logits[:, :1], said)
    return torch.cat([logits[:, :EXCLUDED], nothing, logits[:, EXCLUDED:]], dim=1)


def excluding(case: Case, dtype: torch.dtype = torch.float64) -> tuple[Case, Case]:
    """The same answers without the excluded class, and with it."""
    wide = Case.of(case.name, classes=CLASSES + 1)
    for made in (case, wide):
        made.loss.to(dtype)
    case.student, case.teacher = (mapped(o, lambda t: t.to(dtype)) for o in (case.student, case.teacher))
    wide.student, wide.teacher = mapped(case.student, with_excluded), mapped(case.teacher, with_excluded)
    targets = case.batch.targets
    wide.batch = Batch(case.batch.inputs, targets + (targets >= EXCLUDED).long(), case.batch.index)
    return case, wide


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", [n for n in OF_LOGITS if n not in REFUSED])
def test_excluded_class__counts_as_one_of_probability_0(name: str, dtype: torch.dtype) -> None:
    case, wide = excluding(Case.of(name), dtype)
    _, low = excluding(Case.of(name), dtype)
    low.student, low.teacher = (mapped(o, lambda t: with_excluded(t, ALMOST)) for o in (case.student, case.teacher))
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12

    value, gradients = wide.value_and_gradients()
    expected, expected_gradients = low.value_and_gradients()

    assert value.isfinite()
    torch.testing.assert_close(value, expected, rtol=tolerance, atol=tolerance)
    for gradient, other in zip(gradients, expected_gradients, strict=True):
        assert gradient.isfinite().all()
        assert (gradient[:, EXCLUDED] == 0).all()
        kept = [k for k in range(CLASSES + 1) if k != EXCLUDED]
        torch.testing.assert_close(gradient[:, kept], other[:, kept], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", SUM_OVER_CLASSES)
def test_excluded_class__as_if_it_were_not_there(name: str) -> None:
    without, wide = excluding(Case.of(name))

    value, (gradient,) = wide.value_and_gradients()
    expected, (other,) = without.value_and_gradients()

    torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-12)
    rest = torch.cat([gradient[:, :EXCLUDED], gradient[:, EXCLUDED + 1 :]], dim=1)
    torch.testing.assert_close(rest, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", REFUSED)
def test_excluded_class__is_refused_where_it_makes_no_number(name: str) -> None:
    _, wide = excluding(Case.of(name))

    with pytest.raises(ValueError, match=REFUSED[name]):
        wide.value()


def test_excluded_class__is_refused_where_a_temperature_is_predicted_from_the_logits() -> None:
    _, wide = excluding(Case.of("ctkd"))
    wide.loss = make("ctkd", classes=CLASSES + 1, instance_wise=True)

    with pytest.raises(ValueError, match="because the temperature of a sample is predicted from them, but got -inf"):
        wide.value()


@pytest.mark.parametrize("name", [n for n in SUM_OVER_CLASSES if n in OF_TWO])
def test_excluded_class__of_some_samples_alone_is_the_mean_of_the_parts(name: str) -> None:
    _, wide = excluding(Case.of(name))
    full = Case.of(name, classes=CLASSES + 1)
    full.batch = wide.batch
    half = torch.arange(BATCH)[:, None] < BATCH // 2
    full.student = Outputs(torch.where(half, wide.student.logits, full.student.logits))
    full.teacher = Outputs(torch.where(half, wide.teacher.logits, full.teacher.logits))

    first, second = (
        full.value(**every(full, lambda t, rows=rows: t[rows])) for rows in (slice(BATCH // 2), slice(BATCH // 2, None))
    )

    torch.testing.assert_close(full.value(), (first + second) / 2, rtol=1e-12, atol=1e-13)


def test_excluded_class__of_the_teacher_alone_has_no_part_in_kd() -> None:
    """p_t = 0 there: KL(t || s) is the sum over the others, with the student's probabilities of all classes."""
    case = Case.of("kd", temperature=1.0)
    theirs = Outputs(case.teacher.logits.clone())
    theirs.logits[:, EXCLUDED] = -math.inf
    p_t, log_s = theirs.logits.softmax(1), case.student.logits.log_softmax(1)

    expected = torch.where(p_t > 0, p_t * (theirs.logits.log_softmax(1) - log_s), 0.0).sum(1).mean()

    torch.testing.assert_close(case.value(teacher=theirs), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", ["kd", "soft_label", "nkd", "dkd"])
def test_excluded_class__that_the_teacher_believes_in_is_refused(name: str) -> None:
    case = Case.of(name)
    own = Outputs(case.student.logits.clone())
    own.logits[:, EXCLUDED] = -math.inf

    with pytest.raises(ValueError, match=rf"Expected {kind(name).__name__} to be finite, but got a class with a logit"):
        case.value(student=own)


def test_excluded_class__all_of_them_are_refused() -> None:
    case = Case.of("kd")
    own = Outputs(case.student.logits.clone())
    own.logits[2] = -math.inf

    with pytest.raises(ValueError, match="Expected a finite logit in every sample"):
        case.value(student=own)


def test_excluded_class__is_found_once_and_known_from_then_on(monkeypatch: pytest.MonkeyPatch) -> None:
    _, wide = excluding(Case.of("kd"))
    calls = []
    compute = type(wide.loss).compute
    monkeypatch.setattr(type(wide.loss), "compute", lambda *seen: calls.append(1) or compute(*seen))

    first, second = (wide.loss(wide.student, wide.teacher, wide.batch) for _ in range(2))

    assert torch.equal(first, second)
    assert len(calls) == 3  # twice in the first batch


def test_excluded_class__is_looked_for_in_the_first_batch_alone_where_looking_is_a_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    without, wide = excluding(Case.of("kd"))
    plain = Case.of("kd", classes=CLASSES + 1)
    monkeypatch.setattr(torch.Tensor, "is_cpu", property(lambda _: False))

    first = wide.loss(wide.student, wide.teacher, wide.batch)
    plain.loss(plain.student, plain.teacher, plain.batch)
    later = plain.loss(wide.student, wide.teacher, wide.batch)

    torch.testing.assert_close(first, without.value(), rtol=1e-12, atol=0)
    assert later.isnan()


def test_excluded_class__a_diverged_student_is_not_excused() -> None:
    case = Case.of("kd")
    own = Outputs(case.student.logits.clone())
    own.logits[2, 1] = math.nan
    own.logits[3, EXCLUDED] = -math.inf

    assert case.value(student=own).isnan()


@pytest.mark.parametrize("name", OF_TWO)
def test_classes__of_another_number_are_refused(name: str) -> None:
    for classes in (CLASSES - 2, CLASSES + 2):
        theirs = Case.of(name, classes=classes).teacher
        with pytest.raises(ValueError, match=rf"classes of the student as of the teacher, but got 7 and {classes}"):
            Case.of(name).value(teacher=theirs)


@pytest.mark.parametrize("name", OF_LOGITS)
def test_loss__print_shows_the_settings(name: str) -> None:
    shown = repr(make(name))

    assert [key for key in default_settings(name) if f"{key}=" not in shown] == []


@pytest.mark.parametrize(
    ("name", "number"), [(n, i) for n in NAMES for i in range(len(getattr(file_of_tests(n), "REFUSED", [])))]
)
def test_arguments__that_cannot_be_are_refused(name: str, number: int) -> None:
    """What the loss's own test file says."""
    wrong, message = file_of_tests(name).REFUSED[number]

    with pytest.raises(ValueError, match=message):
        make(name, **wrong)


@pytest.mark.parametrize("name", WITH_PARTS)
def test_parts__in_float32_take_float64_outputs(name: str) -> None:
    case = Case.of(name)
    case.loss.float()
    narrow = {"student": mapped(case.student, Tensor.float), "teacher": mapped(case.teacher, Tensor.float)}
    expected, _ = case.value_and_gradients(**narrow)

    value, gradients = case.value_and_gradients()

    assert torch.equal(value, expected)
    assert all(g.dtype == torch.float64 and g.isfinite().all() for g in gradients)
    assert max(g.abs().max().item() for g in gradients) > 0


@pytest.mark.parametrize("name", [n for n in OF_MAPS if n not in COMPARES_PLACES and not kind(n).places])
def test_maps__of_one_position_teach_something(name: str) -> None:
    _, gradients = Case.of(name, one_position(name)).value_and_gradients()

    assert largest(gradients) > 0


@pytest.mark.parametrize("name", COMPARES_PLACES)
def test_maps__of_one_position_are_refused_where_places_are_compared(name: str) -> None:
    (own, *_), (theirs, *_) = shapes = one_position(name)

    for wrong in (shapes, ((own,), ((theirs[0], 4, 4),)), ((((own[0], 1, 4),), ((theirs[0], 4, 1),)))):
        with pytest.raises(ValueError, match=r"Expected maps of more than one position.* but got .*, 1"):
            Case.of(name, wrong)


def one_position(name: str) -> Shapes:
    own, theirs = shapes_of(name)[0]
    return tuple((s[0], *(1 for _ in s[1:])) for s in own), tuple((s[0], *(1 for _ in s[1:])) for s in theirs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("what", ["zero", "equal"])
@pytest.mark.parametrize("name", OF_LAYERS)
def test_gradient__of_a_row_of_zeros_or_of_two_equal_rows_is_of_an_ordinary_size(
    name: str, what: str, dtype: torch.dtype
) -> None:
    case = Case.of(name)
    case.loss.to(dtype)
    teacher = mapped(case.teacher, lambda t: t.to(dtype))
    own = mapped(case.student, lambda t: t.to(dtype))
    odd = Outputs(own.logits, tuple(changed(f, what) for f in own.features), own.views)

    gradients = is_finite(case, student=odd, teacher=teacher)
    _, ordinary = case.value_and_gradients(student=own, teacher=teacher)

    # SP's similarities are products, so where all of a row are 0 they grow with the others' length.
    assert largest(gradients) < 100 * largest(ordinary)


def largest(gradients: list[Tensor]) -> float:
    return max(g.abs().max().item() for g in gradients)


def changed(feature: Tensor, what: str) -> Tensor:
    made = feature.clone()
    made[0] = 0 if what == "zero" else made[1]
    return made
