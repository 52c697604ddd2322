"""What every loss must keep: one suite over everything in conf/loss."""

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
    every,
    is_finite,
    kind,
    leaves,
    mapped,
    same_draws,
    shapes_of,
    tensors,
)
from tests.contracts.plugins import settings

DECLARATIONS = (
    "zero_at_equality",
    "shift_invariant",
    "symmetric",
    "batch_relational",
    "batch_normalized",
    "needs_teacher",
    "labelled_only",
    "reads_labels",
    "draws",
    "has_memory",
)

pytestmark = pytest.mark.parametrize("name", NAMES)


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
    content = settings("loss", name)

    assert content["weight"] > 0
    assert content["hard_weight"] >= 0


def test_value__is_a_scalar_in_the_precision_of_the_outputs(name: str) -> None:
    case = Case.of(name)
    wide = case.value()
    case.loss.float()

    narrow = case.value(student=mapped(case.student, Tensor.float), teacher=mapped(case.teacher, Tensor.float))

    assert (wide.shape, wide.dtype, narrow.shape, narrow.dtype) == ((), torch.float64, (), torch.float32)
    if not case.loss.draws:
        torch.testing.assert_close(narrow.double(), wide, rtol=1e-4, atol=1e-5)


def test_value__does_not_follow_the_batch_size(name: str) -> None:
    case = Case.of(name)
    if case.loss.batch_relational or case.loss.draws:
        pytest.skip("compares samples, or draws for each, so a copy of each is another question")
    once, gradients_once = case.value_and_gradients()

    value, gradients = case.value_and_gradients(**every(case, lambda t: torch.cat([t, t])))

    torch.testing.assert_close(value, once, rtol=1e-10, atol=1e-13)
    for two, one in zip(gradients, gradients_once, strict=True):
        torch.testing.assert_close(two[:BATCH] + two[BATCH:], one, rtol=1e-8, atol=1e-13)


def test_declaration__batch_relational(name: str) -> None:
    """The mean of the values on single samples is the value on the batch, unless the loss says otherwise."""
    case = Case.of(name)
    norms = [m for m in case.loss.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert case.loss.batch_normalized or not norms
    if case.loss.batch_normalized or case.loss.draws:
        pytest.skip("its own parts normalise over the batch, or it draws anew for every call")

    alone = torch.stack([case.value(**every(case, lambda t, i=i: t[i : i + 1])) for i in range(BATCH)]).mean()

    assert torch.allclose(alone, case.value(), rtol=1e-9) is not case.loss.batch_relational


def test_declaration__draws(name: str) -> None:
    """Two calls in a row agree unless the loss says otherwise; after the same seed they agree in any case."""
    case = Case.of(name)
    if case.loss.has_memory:
        pytest.skip("a call changes its memory")
    first, second = (case.loss(case.student, case.teacher, case.batch) for _ in range(2))

    assert torch.equal(first, second) is not case.loss.draws
    assert torch.equal(case.value(), case.value())


def test_declaration__reads_labels(name: str) -> None:
    """Other labels are another value where it says so, and nowhere else."""
    case = Case.of(name)
    others = batch(targets=(case.batch.targets + 1) % CLASSES)

    assert torch.equal(case.value(batch=others), case.value()) is not kind(name).reads_labels


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
    return Outputs(outputs.logits + by, outputs.features, tuple(view + by for view in outputs.views))


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
    objectives = [Objective({name: Term(c.loss)}, 1.0) for c in (case, other)]
    assert {id(p) for p in case.loss.parameters()} == {id(p) for p in objectives[0].parameters()}

    kept = io.BytesIO()
    torch.save(objectives[0].state_dict(), kept)
    kept.seek(0)
    objectives[1].load_state_dict(torch.load(kept, weights_only=True))

    torch.testing.assert_close(other.value(), case.value(), rtol=0, atol=0)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_value__half_precision_outputs_are_computed_in_float32(name: str, device: str) -> None:
    case = Case.of(name)
    case.loss.float().to(device)
    half = [mapped(o, lambda t: t.to(device, torch.bfloat16)) for o in (case.student, case.teacher)]
    wide = [mapped(o, Tensor.float) for o in half]
    seen = Batch(*(t.to(device) for t in case.batch[:3]))
    expected = case.value(student=wide[0], teacher=wide[1], batch=seen)

    plain = case.value(student=half[0], teacher=half[1], batch=seen)
    with torch.autocast(device, dtype=torch.bfloat16):
        result = case.value(student=half[0], teacher=half[1], batch=seen)
        from_float32 = case.value(student=wide[0], teacher=wide[1], batch=seen)

    for found in (plain, result, from_float32):
        assert found.dtype == torch.float32
        assert torch.equal(found, expected)


def test_value__extreme_outputs_are_finite(name: str) -> None:
    """The two are certain of different classes, with a ratio of probabilities that no float holds."""
    case = Case.of(name)
    case.loss.float()
    certain = torch.full((BATCH, CLASSES), -1e4)
    other = certain.clone()
    certain[:, 0], other[:, 1] = 1e4, 1e4
    flat = torch.zeros_like(certain)

    for s, t in ((certain, other), (certain, certain), (certain, flat), (flat, certain), (-certain, other)):
        is_finite(case, student=saying(case.student, s), teacher=saying(case.teacher, t))


def saying(outputs: Outputs, logits: Tensor) -> Outputs:
    return Outputs(logits, tuple((100 * f).float() for f in outputs.features), tuple(logits for _ in outputs.views))


def test_value__dead_features_are_finite(name: str) -> None:
    """A layer that says 0 for every sample, as after dead ReLUs."""
    case = Case.of(name)
    for teacher in (case.teacher, dead(case.teacher)):
        is_finite(case, student=dead(case.student), teacher=teacher)


def dead(outputs: Outputs) -> Outputs:
    return Outputs(outputs.logits, tuple(torch.zeros_like(f) for f in outputs.features), outputs.views)


def test_value__batch_of_one_is_finite(name: str) -> None:
    """The last batch of an epoch may hold one sample; training must not end there."""
    for shapes in shapes_of(name):
        is_finite(Case.of(name, shapes, rows=1))


def test_value__a_batch_of_one_class_is_finite(name: str) -> None:
    is_finite(Case.of(name), batch=batch(targets=torch.full((BATCH,), 2)))


@pytest.mark.parametrize("labelled", [0, 3])
def test_value__unlabelled_targets_are_fine(name: str, labelled: int) -> None:
    targets = torch.arange(BATCH) % CLASSES
    targets[labelled:] = UNLABELLED
    case = Case.of(name)

    gradients = is_finite(case, batch=batch(targets=targets))

    if case.loss.labelled_only:
        assert (gradients[0].abs().sum(1) > 0).tolist() == [i < labelled for i in range(BATCH)]


def test_loss__copies_through_pickle(name: str) -> None:
    case = Case.of(name)
    twin = pickle.loads(pickle.dumps(case.loss))

    assert torch.equal(same_draws(twin)(case.student, case.teacher, case.batch), case.value())


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
