import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from kd_lab.losses.common import contrast
from kd_lab.losses.common.negatives import Negatives
from kd_lab.losses.crd import CRD
from kd_lab.types import UNLABELLED, Batch, Outputs
from tests.contracts.loss_cases import CLASSES, SAMPLES, VECTOR, Case, leaves, make, outputs
from tests.job.composed import CNNS, plan
from tests.reference import arrays
from tests.reference.losses.crd import first_constants, reference, remembered

COMPARED_HERE = True
SHAPES = [VECTOR, (((3, 4, 4),), ((7,),)), (((1,),), ((64,),))]
T = 0.07
REFUSED = [
    ({"dim": 0}, r"Expected `dim` to be a whole number >= 1, but got 0"),
    ({"negatives": 2.5}, r"Expected `negatives` to be a whole number >= 1, but got 2\.5"),
    ({"temperature": 0}, r"Expected `temperature` to be > 0, but got 0\.0\."),
    ({"momentum": 1.5}, r"Expected `momentum` to be from 0 to 1, but got 1\.5\."),
    ({"targets": torch.zeros(4, dtype=torch.int64)}, "Expected `targets` of at least two classes"),
    ({"student_shapes": ((2,), (3,))}, "Expected as many layers of the student as of the teacher"),
]


def crd(targets: Tensor, dim: int = 2, **settings: Any) -> CRD:
    torch.manual_seed(0)
    return CRD(student_shapes=((dim,),), teacher_shapes=((dim,),), targets=targets, dim=dim, **settings)


def seen(index: list[int]) -> Batch:
    return Batch(torch.zeros(len(index), 1), torch.zeros(len(index), dtype=torch.int64), torch.tensor(index))


def saying(vectors: Tensor) -> Outputs:
    return Outputs(torch.zeros(len(vectors), 3), (vectors,))


def unchanged(loss: CRD) -> CRD:
    """What the networks say is what is compared."""
    with torch.no_grad():
        for embed in (loss.student_embed, loss.teacher_embed):
            embed.weight.copy_(torch.eye(loss.dim))
            embed.bias.zero_()
    return loss


# The value.


def numpy_of(said: Outputs) -> arrays.Outputs:
    return arrays.Outputs(said.logits.detach().numpy(), tuple(f.detach().numpy() for f in said.features))


@dataclass
class Steps:
    """A loss beside the reference, one step after the other; Z is what the reference made of the first one."""

    loss: CRD
    rows: int
    constants: tuple[float, float] | None = None
    generator: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    def agree(self, student: Outputs, teacher: Outputs, index: list[int], drawn: list[list[int]]) -> None:
        """Value, derivatives by the feature and by both embeds, Z and memories, given the negatives of each sample."""
        state = {name: t.detach().numpy().copy() for name, t in self.loss.state_dict().items()}
        student, batch = leaves(student), seen(index)
        value = self.loss(student, teacher, batch)
        parts = {"feature": student.features[0], **dict(self.loss.named_parameters())}
        gradients = torch.autograd.grad(value, list(parts.values()))
        own, theirs = numpy_of(student), numpy_of(teacher)
        labels, rows = batch.targets.numpy(), batch.index.numpy()
        known: dict[str, Any] = {"drawn": drawn, "rows": self.rows, "temperature": self.loss.temperature}
        if self.constants is None:
            self.constants = first_constants(own, theirs, rows, state, **known)
        known["constants"] = self.constants

        def of(name: str, at: Any) -> Any:
            said = arrays.Outputs(own.logits, (at,)) if name == "feature" else own
            return reference(said, theirs, labels, rows, {**state, name: at}, **known)

        assert value.item() == pytest.approx(float(of("feature", own.features[0])), rel=1e-10)
        for (name, part), gradient in zip(parts.items(), gradients, strict=True):
            direction = self.generator.standard_normal(part.shape)
            expected = arrays.directional_derivative(partial(of, name), part.detach().numpy(), direction)
            size = gradient.norm().item()
            slope = float(np.sum(gradient.numpy() * direction))
            assert slope == pytest.approx(expected, rel=1e-8, abs=1e-8 * size + 1e-12), name
        assert self.loss.memories.log_z.exp().tolist() == pytest.approx(self.constants, rel=1e-12)
        memories = remembered(own, theirs, rows, state, momentum=self.loss.momentum)
        for found, wanted in zip((self.loss.memories.student, self.loss.memories.teacher), memories, strict=True):
            np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-12, atol=1e-14)


def two_batches(shapes: Any, rows: int = 6) -> Iterator[tuple[Outputs, Outputs]]:
    for step in range(2):
        yield outputs("crd", shapes[0], 10 * step, rows), outputs("crd", shapes[1], 10 * step + 1, rows)


def test_crd__every_other_as_a_negative_is_the_papers() -> None:
    """As many negatives as there are others: each is drawn once, so nothing has to be known of the draw.

    Of the rows that are not multiples of seven, which the student sees, classes 1 to 4 have seven each.
    """
    targets, shapes = torch.arange(SAMPLES) % 5, VECTOR
    rows = [i for i in range(SAMPLES) if i % 7]
    chosen = [i for i in rows if targets[i] != 0]
    others = {i: [j for j in rows if targets[j] != targets[i]] for i in chosen}
    (count,) = {len(found) for found in others.values()}
    given: dict[str, Any] = {"student_shapes": shapes[0], "teacher_shapes": shapes[1], "targets": targets}
    loss = CRD(**given, transfer=torch.tensor(rows), dim=5, negatives=count).double()
    steps = Steps(loss, len(rows))

    second = [chosen[i] for i in (4, 9, 0, 9, 7, 2)]  # partly the same, one of them twice
    for index, (student, teacher) in zip((chosen[:6], second), two_batches(shapes), strict=True):
        steps.agree(student, teacher, index, [others[i] for i in index])


@pytest.mark.parametrize("negatives", [1, 7, 30, 64])  # of 40 rows: fewer than the others, and more
@pytest.mark.parametrize("shapes", SHAPES)
def test_crd__value_and_gradients_of_two_steps_are_the_papers(shapes: Any, negatives: int) -> None:
    """With the negatives that the loss is about to draw; what they are is tested below."""
    loss = make("crd", shapes, dim=5, negatives=negatives)
    assert isinstance(loss, CRD)
    steps = Steps(loss, SAMPLES)

    for index, (student, teacher) in zip(([0, 1, 2, 3, 4, 5], [4, 9, 0, 9, 7, 2]), two_batches(shapes), strict=True):
        others = copy.deepcopy(loss.others)
        counts = others.drawn(torch.tensor(index), others.numbers(len(index))).int()
        drawn = [[row for row, times in enumerate(found) for _ in range(times)] for found in counts.tolist()]
        steps.agree(student, teacher, index, drawn)


def test_crd__value_at_chance() -> None:
    """All rows and vectors alike: each P is 1/N, so each direction is log(1 + K) + K log(1 + 1/K), but for 1e-7."""
    loss = unchanged(crd(torch.arange(10) % 5, negatives=4)).double()
    loss.memories.student[:], loss.memories.teacher[:] = torch.tensor([1.0, 0.0]), torch.tensor([1.0, 0.0])
    alike = saying(torch.tensor([[3.0, 0.0]], dtype=torch.float64).repeat(6, 1))

    value = loss(alike, alike, seen([0, 1, 2, 3, 4, 5]))

    assert value.item() == pytest.approx(2 * (math.log(5) + 4 * math.log(5 / 4)), rel=1e-5)
    assert loss.memories.log_z.tolist() == pytest.approx([math.log(10) + 1 / T] * 2)


# The memories.


def test_memory__after_two_steps_by_hand() -> None:
    """With momentum 1/2 a row goes half of the angle: a row at 0 degrees that hears 90 twice is at 45, then at 67.5.

    cos and sin of 67.5 degrees: sqrt(2 - sqrt 2) / 2 and sqrt(2 + sqrt 2) / 2.
    """
    loss = unchanged(crd(torch.tensor([0, 1, 2]), negatives=2))
    loss.memories.student[:] = torch.tensor([1.0, 0.0])
    loss.memories.teacher[:] = torch.tensor([0.0, 1.0])
    up, right = saying(torch.tensor([[0.0, 3.0]])), saying(torch.tensor([[7.0, 0.0]]))

    loss(up, right, seen([1]))
    half = math.sqrt(0.5)
    torch.testing.assert_close(loss.memories.student, torch.tensor([[1.0, 0.0], [half, half], [1.0, 0.0]]))
    torch.testing.assert_close(loss.memories.teacher, torch.tensor([[0.0, 1.0], [half, half], [0.0, 1.0]]))

    loss(up, right, seen([1]))
    cosine, sine = math.sqrt(2 - math.sqrt(2)) / 2, math.sqrt(2 + math.sqrt(2)) / 2
    torch.testing.assert_close(loss.memories.student[1], torch.tensor([cosine, sine]))
    torch.testing.assert_close(loss.memories.teacher[1], torch.tensor([sine, cosine]))


def test_state__a_training_that_is_taken_up_again_goes_on_as_it_would_have() -> None:
    one = Case.of("crd", negatives=9)
    one.loss(one.student, one.teacher, one.batch)
    torch.manual_seed(99)
    targets = torch.arange(SAMPLES) % CLASSES
    targets[::7] = UNLABELLED
    other = CRD(student_shapes=VECTOR[0], teacher_shapes=VECTOR[1], targets=targets, negatives=9).double()
    assert other.others.seed != one.loss.others.seed  # type: ignore[union-attr]

    other.load_state_dict(one.loss.state_dict())

    for _ in range(2):
        assert torch.equal(other(one.student, one.teacher, one.batch), one.loss(one.student, one.teacher, one.batch))


# The negatives.

TARGETS = torch.tensor([0, 1, 2, 0, UNLABELLED, 1, 0, UNLABELLED, 2, 0, 1, 1])


def counted(negatives: Negatives, index: list[int], steps: int = 1) -> Iterator[Tensor]:
    for _ in range(steps):
        yield negatives.drawn(torch.tensor(index), negatives.numbers(len(index)))


@pytest.mark.parametrize("count", [1, 3, 8, 9, 10, 11, 12, 500])
def test_negatives__are_of_other_classes_and_as_many_as_asked(count: int) -> None:
    everyone = list(range(len(TARGETS)))
    for drawn in counted(Negatives(TARGETS, None, count), everyone, steps=20):
        assert (drawn.sum(dim=1) == count).all()
        for row, label in enumerate(TARGETS.tolist()):
            own = [row] if label == UNLABELLED else (label == TARGETS).nonzero().flatten().tolist()
            others = len(TARGETS) - len(own)
            assert not drawn[row, own].any()
            assert count > others or drawn[row].max() <= 1, "Where there are enough, none is drawn twice."
            if count == others:
                assert drawn[row].sum() == (drawn[row] == 1).sum() == others


@pytest.mark.parametrize("count", [1, 4, 5, 7, 20])
def test_negatives__are_each_as_probable(count: int) -> None:
    """20000 draws of `count` for each: the share of a row is count / others, within 5 standard errors."""
    steps, index = 20_000, [0, 1, 4]
    torch.manual_seed(3)
    negatives = Negatives(TARGETS, None, count)
    numbers = torch.rand(steps, 1 + count, generator=torch.Generator().manual_seed(3))
    for row in index:
        mean = negatives.drawn(torch.full((steps,), row), numbers).mean(dim=0)
        label = int(TARGETS[row])
        others = torch.arange(12) != row if label == UNLABELLED else label != TARGETS
        expected = torch.where(others, count / others.sum(), 0.0)
        assert ((mean - expected).abs() <= 5 * (expected / steps).sqrt()).all()


def test_negatives__are_rows_that_the_student_trains_on() -> None:
    rows = torch.tensor([0, 1, 2, 4, 5, 7])
    negatives = Negatives(TARGETS, rows, 3)

    drawn = torch.stack(list(counted(negatives, list(range(12)), steps=30))).sum(dim=0)

    outside = torch.tensor([i for i in range(12) if i not in rows])
    assert not drawn[:, outside].any()
    assert (drawn[4] > 0).tolist() == [i in {0, 1, 2, 5, 7} for i in range(12)]  # unlabelled: all but itself
    assert (drawn[3] > 0).tolist() == [i in {1, 2, 4, 5, 7} for i in range(12)]  # class 0, itself not among the rows


def test_negatives__follow_their_seed_and_step_alone() -> None:
    torch.manual_seed(5)
    one = Negatives(TARGETS, None, 6)
    twin = copy.deepcopy(one)
    other = Negatives(TARGETS, None, 6)
    first = one.numbers(4)
    torch.rand(3)
    state = torch.get_rng_state()

    assert torch.equal(twin.numbers(4), first)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(twin.numbers(4), one.numbers(4))
    assert not torch.equal(one.numbers(4), first)
    assert not torch.equal(other.numbers(4), first)


def test_negatives__come_from_the_transfer_part_of_a_job() -> None:
    made = plan("loss=crd", *CNNS)

    assert made.built is not None
    loss = made.built.bound.objective.losses["crd"]

    assert isinstance(loss, CRD)
    assert torch.equal(loss.others.ring.sort().values, made.data.transfer)
    assert len(loss.memories.student) == len(made.data.targets)


# Memory and time.


class Largest(TorchDispatchMode):
    """The largest tensor that any operation makes."""

    numel = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and result.dtype != torch.uint8:  # bytes, while a module is copied
            self.numel = max(self.numel, result.untyped_storage().nbytes() // result.element_size())
        return result


def test_crd__makes_no_tensor_of_all_negatives_vectors() -> None:
    """With the paper's settings 64 samples have 1 million negatives of 128 numbers: 134 million, 0.5 GiB."""
    torch.manual_seed(0)
    loss = CRD(student_shapes=((32,),), teacher_shapes=((32,),), targets=torch.arange(1197) % 10)
    feature = torch.randn(64, 32, requires_grad=True)
    kept: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        kept.append(tensor.numel())
        return tensor

    with Largest() as largest, torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        loss(saying(feature), saying(torch.randn(64, 32)), seen(list(range(64)))).backward()

    assert largest.numel <= 64 * (16384 + 1)
    assert sum(kept) < 64 * 128 * 32  # nothing that grows with the negatives or with the dataset


def test_crd__in_parts_is_the_whole_and_no_larger_than_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case.of("crd", negatives=12, dim=2)
    with Largest() as of_whole:
        whole, gradients = case.value_and_gradients()
    monkeypatch.setattr(contrast, "MOST_SCORES", 3 * SAMPLES)

    with Largest() as of_parts:
        parts, gradients_of_parts = case.value_and_gradients()

    torch.testing.assert_close(parts, whole, rtol=1e-12, atol=0)
    torch.testing.assert_close(gradients_of_parts[1], gradients[1], rtol=1e-10, atol=1e-14)
    assert of_whole.numel >= 8 * SAMPLES
    assert of_parts.numel <= 3 * (SAMPLES + 1)
