"""What every loss must keep: one suite over everything in conf/loss.

The losses found are built with the settings they ship with, and see logits [B, K] only.
"""

import copy
import inspect
import math
import pickle

import pytest
import torch
from torch import Tensor, nn

from kd_lab.training.objective import Objective
from kd_lab.types import UNLABELLED, Batch, Outputs
from tests.contracts.plugins import REPOSITORY, arguments, build, settings, target, with_target

B, K = 8, 6
NAMES = with_target("loss")
TEMPERED = [n for n in NAMES if "temperature" in arguments("loss", settings(REPOSITORY, "loss", n))]
DECLARATIONS = ("zero_at_equality", "shift_invariant", "batch_relational")

pytestmark = pytest.mark.parametrize("name", NAMES)


def logits(seed: int, rows: int = B, dtype: torch.dtype = torch.float64) -> Tensor:
    return 2 * torch.randn(rows, K, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def batch(rows: int = B, targets: Tensor | None = None) -> Batch:
    targets = torch.arange(rows) % K if targets is None else targets
    return Batch(inputs=torch.zeros(rows, 3), targets=targets, index=torch.arange(rows))


def value(loss: nn.Module, student: Tensor, teacher: Tensor, seen: Batch | None = None) -> Tensor:
    result = loss(Outputs(student), Outputs(teacher), batch(len(student)) if seen is None else seen)
    assert isinstance(result, Tensor)
    return result


def value_and_gradient(
    loss: nn.Module, student: Tensor, teacher: Tensor, seen: Batch | None = None
) -> tuple[Tensor, Tensor]:
    student = student.detach().clone().requires_grad_()
    result = value(loss, student, teacher, seen)
    (gradient,) = torch.autograd.grad(result, student)
    return result.detach(), gradient


def test_loss__declares_what_it_is_and_takes_keywords_only(name: str) -> None:
    cls = target(settings(REPOSITORY, "loss", name))

    assert inspect.isclass(cls)
    assert issubclass(cls, nn.Module)
    assert [type(getattr(cls, d, None)) for d in DECLARATIONS] == [bool] * 3, f"{cls} must declare {DECLARATIONS}."
    parameters = inspect.signature(cls).parameters
    assert all(p.kind is p.KEYWORD_ONLY for p in parameters.values())
    assert not {"weight", "hard_weight"} & set(parameters), "The weights belong to the objective."
    assert list(inspect.signature(cls.forward).parameters) == ["self", "student", "teacher", "batch"]


def test_yaml__has_the_methods_published_weights(name: str) -> None:
    content = settings(REPOSITORY, "loss", name)

    assert content["weight"] > 0
    assert content["hard_weight"] >= 0


def test_value__is_a_finite_scalar_in_the_precision_of_the_logits(name: str) -> None:
    for dtype in (torch.float32, torch.float64):
        result = value(build("loss", name), logits(0, dtype=dtype), logits(1, dtype=dtype))

        assert result.shape == ()
        assert result.dtype == dtype
        assert result.isfinite()


def test_value__does_not_follow_the_batch_size(name: str) -> None:
    loss, student, teacher = build("loss", name), logits(0), logits(1)
    if loss.batch_relational:
        pytest.skip("compares samples, so a copy of each is another question")

    once, gradient_once = value_and_gradient(loss, student, teacher)
    twice, gradient_twice = value_and_gradient(loss, student.repeat(2, 1), teacher.repeat(2, 1))

    torch.testing.assert_close(twice, once, rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(gradient_twice[:B] + gradient_twice[B:], gradient_once, rtol=1e-12, atol=1e-15)


def test_declaration__batch_relational(name: str) -> None:
    """The mean of the values on single samples is the value on the batch, unless the loss says otherwise."""
    loss, student, teacher = build("loss", name), logits(0), logits(1)

    alone = torch.stack([value(loss, student[i : i + 1], teacher[i : i + 1]) for i in range(B)]).mean()

    assert torch.allclose(alone, value(loss, student, teacher), rtol=1e-9) is not loss.batch_relational


def test_declaration__zero_at_equality(name: str) -> None:
    loss, same = build("loss", name), logits(0)

    at_equality, gradient = value_and_gradient(loss, same, same.clone())

    assert (at_equality.abs().item() < 1e-12) is loss.zero_at_equality
    if loss.zero_at_equality:
        assert gradient.abs().max() < 1e-12
        assert min(value(loss, logits(s), logits(s + 100)).item() for s in range(20)) > 0


def test_declaration__shift_invariant(name: str) -> None:
    loss, student, teacher = build("loss", name), logits(0), logits(1)
    shift = torch.linspace(-3, 5, B, dtype=torch.float64)[:, None]

    shifted = torch.stack([value(loss, student + shift, teacher), value(loss, student, teacher - shift)])

    assert torch.allclose(shifted, value(loss, student, teacher), rtol=1e-9) is loss.shift_invariant


def test_gradient__reaches_the_student_and_every_parameter_and_not_the_teacher(name: str) -> None:
    loss = build("loss", name).double()
    student, teacher = logits(0).requires_grad_(), logits(1).requires_grad_()

    value(loss, student, teacher).backward()

    assert teacher.grad is None
    for tensor in (student, *loss.parameters()):
        assert tensor.grad is not None
        assert tensor.grad.isfinite().all()
        assert tensor.grad.abs().sum() > 0


@pytest.mark.parametrize("hard_weight", [0.0, 0.1])
def test_weight__the_objective_is_linear_in_it(name: str, hard_weight: float) -> None:
    """No branch at 0 or 1 changes the objective."""
    loss, student, teacher, seen = build("loss", name), Outputs(logits(0)), Outputs(logits(1)), batch()
    term = value(loss, student.logits, teacher.logits)
    hard = nn.functional.cross_entropy(student.logits, seen.targets)

    for weight in (1e-9, 0.5, 1.0 - 1e-9, 1.0, 1.0 + 1e-9, 9.0):
        total = Objective({name: (loss, weight)}, hard_weight)(student, teacher, seen).total
        torch.testing.assert_close(total, hard_weight * hard + weight * term, rtol=1e-12, atol=1e-15)


def test_hard_weight__the_objective_is_linear_in_it(name: str) -> None:
    loss, student, teacher, seen = build("loss", name), Outputs(logits(0)), Outputs(logits(1)), batch()
    term = value(loss, student.logits, teacher.logits)
    hard = nn.functional.cross_entropy(student.logits, seen.targets)

    for hard_weight in (0.0, 1e-9, 0.5, 1.0, 1.0 + 1e-9):
        total = Objective({name: (loss, 0.9)}, hard_weight)(student, teacher, seen).total
        torch.testing.assert_close(total, hard_weight * hard + 0.9 * term, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 4.0, 20.0])
def test_temperature__value_and_gradient_are_continuous(name: str, temperature: float) -> None:
    if name not in TEMPERED:
        pytest.skip("has no temperature")
    content = settings(REPOSITORY, "loss", name)
    student, teacher = logits(0), logits(1)

    def at(t: float) -> tuple[Tensor, Tensor]:
        return value_and_gradient(target(content)(**arguments("loss", content) | {"temperature": t}), student, teacher)

    here, near = at(temperature), (at(temperature * (1 - 1e-7)), at(temperature * (1 + 1e-7)))

    for side in near:
        torch.testing.assert_close(side[0], here[0], rtol=1e-5, atol=1e-9)
        torch.testing.assert_close(side[1], here[1], rtol=1e-5, atol=1e-9)


CUDA = pytest.param(
    "cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")]
)


@pytest.mark.parametrize("device", ["cpu", CUDA])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("enabled", [True, False], ids=["autocast", "plain"])
def test_value__half_precision_logits_are_computed_in_float32(
    name: str, enabled: bool, dtype: torch.dtype, device: str
) -> None:
    loss, seen = build("loss", name).to(device), Batch(*(t.to(device) for t in batch()))
    student, teacher = logits(0).to(device, dtype), logits(1).to(device, dtype)
    expected = value(loss, student.float(), teacher.float(), seen)

    with torch.autocast(device, dtype=dtype, enabled=enabled):
        result = value(loss, student, teacher, seen)
        from_float32 = value(loss, student.float(), teacher.float(), seen)

    assert result.dtype == torch.float32
    assert torch.equal(result, expected)
    assert torch.equal(from_float32, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_value__extreme_logits_are_finite(name: str, dtype: torch.dtype) -> None:
    """The two are certain of different classes, with a ratio of probabilities that no float holds."""
    student = torch.full((B, K), -1e4, dtype=dtype)
    teacher = student.clone()
    student[:, 0], teacher[:, 1] = 1e4, 1e4

    for s, t in ((student, teacher), (student, student), (student, torch.zeros_like(student)), (-student, teacher)):
        result, gradient = value_and_gradient(build("loss", name), s, t)
        assert result.isfinite()
        assert gradient.isfinite().all()


def test_value__batch_of_one_is_finite(name: str) -> None:
    result, gradient = value_and_gradient(build("loss", name), logits(0, rows=1), logits(1, rows=1))

    assert result.isfinite()
    assert gradient.isfinite().all()


@pytest.mark.parametrize("labelled", [0, 3])
def test_value__unlabelled_targets_are_fine(name: str, labelled: int) -> None:
    targets = torch.arange(B) % K
    targets[labelled:] = UNLABELLED

    result, gradient = value_and_gradient(build("loss", name), logits(0), logits(1), batch(targets=targets))

    assert result.isfinite()
    assert gradient.isfinite().all()


def test_loss__copies_through_pickle_and_deepcopy(name: str) -> None:
    loss = build("loss", name)
    expected = value(loss, logits(0), logits(1))

    for twin in (pickle.loads(pickle.dumps(loss)), copy.deepcopy(loss)):
        assert torch.equal(value(twin, logits(0), logits(1)), expected)


def test_loss__compiles_without_a_graph_break(name: str) -> None:
    loss = build("loss", name)
    compiled = torch.compile(loss, backend="eager", fullgraph=True)

    result, gradient = value_and_gradient(compiled, logits(0), logits(1))

    expected, expected_gradient = value_and_gradient(loss, logits(0), logits(1))
    assert math.isclose(result.item(), expected.item(), rel_tol=1e-12)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-12, atol=1e-15)
