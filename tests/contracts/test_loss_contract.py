"""What every loss must keep: one suite over everything in conf/loss."""

import copy
import inspect
import io
import math
import pickle

import pytest
import torch
from torch import Tensor, nn

from kd_lab.losses.common.loss import Loss
from kd_lab.training.objective import Objective, Term
from kd_lab.types import UNLABELLED, Batch, Outputs
from tests.contracts.loss_cases import (
    BATCH,
    CLASSES,
    NAMES,
    Case,
    batch,
    default_settings,
    kind,
    leaves,
    make,
    mapped,
    same_draws,
    tensors,
)
from tests.contracts.plugins import REPOSITORY, settings

TEMPERED = [n for n in NAMES if "temperature" in default_settings(n)]
DECLARATIONS = (
    "zero_at_equality",
    "shift_invariant",
    "symmetric",
    "batch_relational",
    "batch_normalized",
    "needs_teacher",
    "labelled_only",
    "draws",
    "has_memory",
    "two_views",
)

pytestmark = pytest.mark.parametrize("name", NAMES)


def all_of(case: Case) -> Term:
    places = tuple(range(len(case.student.features)))
    return Term(case.loss, student_slots=places, teacher_slots=places)


def test_loss__declares_what_it_is_and_takes_keywords_only(name: str) -> None:
    cls = kind(name)

    assert [type(getattr(cls, d, None)) for d in DECLARATIONS] == [bool] * len(DECLARATIONS), DECLARATIONS
    parameters = inspect.signature(cls).parameters
    assert all(p.kind is p.KEYWORD_ONLY for p in parameters.values())
    assert not {"weight", "hard_weight", "standardize", "schedules"} & set(parameters), "Those are the objective's."
    assert cls.forward is Loss.forward, "Write `compute`; `forward` widens, detaches and leaves autocast."
    assert ("gather" in parameters) is cls.batch_relational, (
        "A batch-relational loss has the setting `gather`, no other."
    )


def test_loss__its_docstring_teaches(name: str) -> None:
    """What it matches, its source, when it helps, what it costs, its defaults."""
    told = inspect.getmodule(kind(name)).__doc__ or ""  # type: ignore[union-attr]

    for word in ("Source:", "Helps", "cost", "Defaults:"):
        assert word.lower() in told.lower(), f"kd_lab/losses/{name}.py: say `{word}` in the module docstring."


def test_yaml__has_the_methods_published_weights(name: str) -> None:
    content = settings(REPOSITORY, "loss", name)

    assert content["weight"] > 0
    assert content["hard_weight"] >= 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_value__is_a_finite_scalar_in_the_precision_of_the_outputs(name: str, dtype: torch.dtype) -> None:
    case = Case.of(name)
    case.loss.to(dtype)

    result = case.value(
        student=mapped(case.student, lambda t: t.to(dtype)), teacher=mapped(case.teacher, lambda t: t.to(dtype))
    )

    assert result.shape == ()
    assert result.dtype == dtype
    assert result.isfinite()


def test_value__does_not_follow_the_batch_size(name: str) -> None:
    case = Case.of(name)
    if case.loss.batch_relational or case.loss.draws:
        pytest.skip("compares samples, or draws for each, so a copy of each is another question")
    twice = {
        "student": mapped(case.student, twofold),
        "teacher": mapped(case.teacher, twofold),
        "batch": doubled(case.batch),
    }

    once, gradients_once = case.value_and_gradients()
    value, gradients = case.value_and_gradients(**twice)

    torch.testing.assert_close(value, once, rtol=1e-10, atol=1e-13)
    for two, one in zip(gradients, gradients_once, strict=True):
        torch.testing.assert_close(two[:BATCH] + two[BATCH:], one, rtol=1e-8, atol=1e-13)


def twofold(tensor: Tensor) -> Tensor:
    return torch.cat([tensor, tensor])


def doubled(seen: Batch) -> Batch:
    return Batch(*(twofold(t) for t in seen[:3]))


def test_declaration__batch_relational(name: str) -> None:
    """The mean of the values on single samples is the value on the batch, unless the loss says otherwise."""
    case = Case.of(name)
    norms = [m for m in case.loss.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert case.loss.batch_normalized or not norms
    if case.loss.batch_normalized or case.loss.draws:
        pytest.skip("its own parts normalise over the batch, or it draws anew for every call")

    alone = torch.stack([case.value(**one(case, i)) for i in range(BATCH)]).mean()

    assert torch.allclose(alone, case.value(), rtol=1e-9) is not case.loss.batch_relational


def one(case: Case, i: int) -> dict[str, object]:
    return {
        "student": mapped(case.student, lambda t: t[i : i + 1]),
        "teacher": mapped(case.teacher, lambda t: t[i : i + 1]),
        "batch": Batch(*(t[i : i + 1] for t in case.batch[:3])),
    }


def test_declaration__draws(name: str) -> None:
    """Two calls in a row agree unless the loss says otherwise; after the same seed they agree in any case."""
    case = Case.of(name)
    if case.loss.has_memory:
        pytest.skip("a call changes its memory")
    first, second = (case.loss(case.student, case.teacher, case.batch) for _ in range(2))

    assert torch.equal(first, second) is not case.loss.draws
    assert torch.equal(case.value(), case.value())


def test_declaration__zero_at_equality(name: str) -> None:
    if kind(name).zero_at_equality:
        value, gradients = Case.of(name, equal=True).value_and_gradients()
        assert value.abs() < 1e-12
        assert max(g.abs().max().item() for g in gradients) < 1e-7  # the square root of rounding in a distance
        assert Case.of(name).value() > 0
    else:
        try:
            case = Case.of(name, equal=True)
        except ValueError:
            return  # it cannot compare such layers at all
        value, gradients = case.value_and_gradients()
        assert max(abs(value.item()), *(g.abs().max().item() for g in gradients)) > 1e-9


def test_declaration__shift_invariant(name: str) -> None:
    case = Case.of(name)
    shift = torch.linspace(-3, 5, BATCH, dtype=torch.float64)[:, None]
    own, theirs = shifted(case.student, shift), shifted(case.teacher, -shift)

    moved = torch.stack([case.value(student=own), case.value(teacher=theirs)])

    assert torch.allclose(moved, case.value(), rtol=1e-9) is case.loss.shift_invariant


def shifted(outputs: Outputs, by: Tensor) -> Outputs:
    strong = None if outputs.strong_logits is None else outputs.strong_logits + by
    return Outputs(outputs.logits + by, outputs.features, strong)


def test_declaration__symmetric(name: str) -> None:
    case = Case.of(name)
    same_layers = [f.shape for f in case.student.features] == [f.shape for f in case.teacher.features]
    if not same_layers and not case.loss.symmetric:
        pytest.skip("its layers differ, so they cannot change places")
    if not same_layers:  # built anew, for the shapes the other way round
        turned = Case.of(name, (shapes_in(case.teacher), shapes_in(case.student)))
        turned.student, turned.teacher = case.teacher, case.student
        torch.testing.assert_close(turned.value(), case.value(), rtol=1e-9, atol=1e-13)
        return

    swapped = case.value(student=case.teacher, teacher=case.student)

    assert torch.allclose(swapped, case.value(), rtol=1e-9) is case.loss.symmetric


def shapes_in(outputs: Outputs) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(f.shape[1:]) for f in outputs.features)


def test_gradient__reaches_the_student_and_every_parameter_and_not_the_teacher(name: str) -> None:
    case = Case.of(name)
    student, teacher = leaves(case.student), leaves(case.teacher)

    case.loss(student, teacher, case.batch).backward()

    assert all(t.grad is None for t in tensors(teacher))
    reached = student.features or tensors(student)
    for tensor in (*reached, *(p for p in case.loss.parameters() if p.requires_grad)):
        assert tensor.grad is not None
        assert tensor.grad.isfinite().all()
        assert tensor.grad.abs().sum() > 0


def test_parts__are_in_the_state_of_the_objective_and_come_back_from_it(name: str) -> None:
    """What the objective holds is what the optimizer and the checkpoint get."""
    case, other = Case.of(name), Case.of(name)
    with torch.no_grad():
        for parameter in other.loss.parameters():
            parameter.add_(0.1)
    objectives = [Objective({name: all_of(c)}, 1.0) for c in (case, other)]
    assert {id(p) for p in case.loss.parameters()} == {id(p) for p in objectives[0].parameters()}

    kept = io.BytesIO()
    torch.save(objectives[0].state_dict(), kept)
    kept.seek(0)
    objectives[1].load_state_dict(torch.load(kept, weights_only=True))

    torch.testing.assert_close(other.value(), case.value(), rtol=0, atol=0)


@pytest.mark.parametrize("hard_weight", [0.0, 0.1])
def test_weight__the_objective_is_linear_in_it(name: str, hard_weight: float) -> None:
    """No branch at 0 or 1 changes the objective."""
    case = Case.of(name)
    term = case.value()
    hard = nn.functional.cross_entropy(case.student.logits, case.batch.targets)

    for weight in (1e-9, 0.5, 1.0 - 1e-9, 1.0, 1.0 + 1e-9, 9.0):
        loss = copy.deepcopy(case.loss)
        places = tuple(range(len(case.student.features)))
        objective = Objective({name: Term(loss, weight, student_slots=places, teacher_slots=places)}, hard_weight)
        same_draws(loss)
        total = objective(case.student, case.teacher, case.batch).total
        torch.testing.assert_close(total, hard_weight * hard + weight * term, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 4.0, 20.0])
def test_temperature__value_and_gradient_are_continuous(name: str, temperature: float) -> None:
    if name not in TEMPERED:
        pytest.skip("has no temperature")

    def at(t: float) -> tuple[Tensor, list[Tensor]]:
        return Case.of(name, temperature=t).value_and_gradients()

    here, near = at(temperature), (at(temperature * (1 - 1e-7)), at(temperature * (1 + 1e-7)))

    for side in near:
        torch.testing.assert_close(side[0], here[0], rtol=1e-5, atol=1e-9)
        for one_side, gradient in zip(side[1], here[1], strict=True):
            size = gradient.abs().max().item()  # an entry that happens to be near 0 still moves with the others
            torch.testing.assert_close(one_side, gradient, rtol=1e-5, atol=1e-9 + 1e-7 * size)


CUDA = pytest.param(
    "cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")]
)


@pytest.mark.parametrize("device", ["cpu", CUDA])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("enabled", [True, False], ids=["autocast", "plain"])
def test_value__half_precision_outputs_are_computed_in_float32(
    name: str, enabled: bool, dtype: torch.dtype, device: str
) -> None:
    case = Case.of(name)
    case.loss.float().to(device)
    half = [mapped(o, lambda t: t.to(device, dtype)) for o in (case.student, case.teacher)]
    wide = [mapped(o, torch.Tensor.float) for o in half]
    seen = Batch(*(t.to(device) for t in case.batch[:3]))
    expected = case.value(student=wide[0], teacher=wide[1], batch=seen)

    with torch.autocast(device, dtype=dtype, enabled=enabled):
        result = case.value(student=half[0], teacher=half[1], batch=seen)
        from_float32 = case.value(student=wide[0], teacher=wide[1], batch=seen)

    assert result.dtype == torch.float32
    assert torch.equal(result, expected)
    assert torch.equal(from_float32, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_value__extreme_outputs_are_finite(name: str, dtype: torch.dtype) -> None:
    """The two are certain of different classes, with a ratio of probabilities that no float holds."""
    case = Case.of(name)
    case.loss.float()
    certain = torch.full((BATCH, CLASSES), -1e4)
    other = certain.clone()
    certain[:, 0], other[:, 1] = 1e4, 1e4
    flat = torch.zeros_like(certain)

    for s, t in ((certain, other), (certain, certain), (certain, flat), (flat, certain), (-certain, other)):
        own, theirs = saying(case.student, s, dtype), saying(case.teacher, t, dtype)
        result, gradients = case.value_and_gradients(student=own, teacher=theirs)
        assert result.isfinite()
        assert all(g.isfinite().all() for g in gradients)


def saying(outputs: Outputs, logits: Tensor, dtype: torch.dtype) -> Outputs:
    strong = None if outputs.strong_logits is None else logits.to(dtype)
    return Outputs(logits.to(dtype), tuple((100 * f).to(dtype) for f in outputs.features), strong)


def test_value__dead_features_are_finite(name: str) -> None:
    """A layer that says 0 for every sample, as after dead ReLUs."""
    case = Case.of(name)
    for student, teacher in ((dead(case.student), case.teacher), (dead(case.student), dead(case.teacher))):
        result, gradients = case.value_and_gradients(student=student, teacher=teacher)
        assert result.isfinite()
        assert all(g.isfinite().all() for g in gradients)


def dead(outputs: Outputs) -> Outputs:
    return Outputs(outputs.logits, tuple(torch.zeros_like(f) for f in outputs.features), outputs.strong_logits)


def test_value__batch_of_one_is_finite(name: str) -> None:
    """The last batch of an epoch may hold one sample; training must not end there."""
    result, gradients = Case.of(name, rows=1).value_and_gradients()

    assert result.isfinite()
    assert all(g.isfinite().all() for g in gradients)


def test_value__a_batch_of_one_class_is_finite(name: str) -> None:
    case = Case.of(name)

    result, gradients = case.value_and_gradients(batch=batch(targets=torch.full((BATCH,), 2)))

    assert result.isfinite()
    assert all(g.isfinite().all() for g in gradients)


@pytest.mark.parametrize("labelled", [0, 3])
def test_value__unlabelled_targets_are_fine(name: str, labelled: int) -> None:
    targets = torch.arange(BATCH) % CLASSES
    targets[labelled:] = UNLABELLED
    case = Case.of(name)

    result, gradients = case.value_and_gradients(batch=batch(targets=targets))

    assert result.isfinite()
    assert all(g.isfinite().all() for g in gradients)
    if case.loss.labelled_only:
        assert (gradients[0].abs().sum(1) > 0).tolist() == [i < labelled for i in range(BATCH)]


def test_loss__copies_through_pickle_and_deepcopy(name: str) -> None:
    case = Case.of(name)
    expected = case.value()

    for twin in (pickle.loads(pickle.dumps(case.loss)), copy.deepcopy(case.loss)):
        assert torch.equal(same_draws(twin)(case.student, case.teacher, case.batch), expected)


@pytest.mark.slow
def test_loss__compiles_without_a_graph_break(name: str) -> None:
    case = Case.of(name)
    if case.loss.has_memory:
        pytest.skip("has a memory")
    expected, expected_gradients = case.value_and_gradients()
    torch._dynamo.reset()
    student = leaves(case.student)

    result = torch.compile(same_draws(case.loss), backend="eager", fullgraph=True)(student, case.teacher, case.batch)

    assert math.isclose(result.item(), expected.item(), rel_tol=1e-12)
    found = torch.autograd.grad(result, tensors(student), allow_unused=True)
    for gradient, wanted in zip(found, expected_gradients, strict=True):
        torch.testing.assert_close(
            torch.zeros_like(wanted) if gradient is None else gradient, wanted, rtol=1e-10, atol=1e-13
        )


def test_make__is_what_the_yaml_says(name: str) -> None:
    """The suite tests the loss that ships."""
    loss = make(name)

    for setting, value in default_settings(name).items():
        if hasattr(loss, setting) and isinstance(value, int | float):
            assert getattr(loss, setting) == value
