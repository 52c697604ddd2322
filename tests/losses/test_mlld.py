import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from kd_lab.losses.mlld import MLLD
from kd_lab.types import Outputs
from tests.contracts.loss_cases import Case, batch, leaves, noise, outputs
from tests.reference.losses.mlld import reference

__all__ = ["reference"]

SETTINGS = [{"temperatures": [1.0]}, {"temperatures": [4.0, 0.5]}]


def value(loss: MLLD, student: Outputs, teacher: Outputs) -> Tensor:
    found: Tensor = loss(student, teacher, batch(len(student.logits), classes=student.logits.shape[1]))
    return found


def test_mlld__one_sample_of_two_classes_by_hand() -> None:
    """Teacher 3/4 to 1/4, student 1/2 to 1/2, T = 1. KL = 3/4 ln 3 - ln 2.

    G: 10/16 - 1/2 = 1/8, squared 1/64. M: 9/16, 3/16 | 3/16, 1/16 less 1/4 each; the second class is the less probable,
    its column -1/16, -3/16, so the squares add to 10/256, over K = 2 classes 5/256.
    """
    teacher = torch.tensor([[math.log(3.0), 0.0]], dtype=torch.float64)

    found = value(MLLD(temperatures=[1.0]), Outputs(torch.zeros_like(teacher)), Outputs(teacher))

    assert found.item() == pytest.approx(0.75 * math.log(3) - math.log(2) + 1 / 64 + 5 / 256, rel=1e-12)


def test_mlld__adds_up_temperatures_and_views() -> None:
    student, teacher = outputs("mlld", (), 0), outputs("mlld", (), 1)
    assert len(student.views) == 1

    whole = value(MLLD(temperatures=[2.0, 5.0]), student, teacher)

    each = [value(MLLD(temperatures=[t]), student, teacher) for t in (2.0, 5.0)]
    torch.testing.assert_close(whole, each[0] + each[1], rtol=1e-12, atol=0)
    twice = [replace(o, views=(o.logits,)) for o in (student, teacher)]
    once = [replace(o, views=()) for o in (student, teacher)]
    torch.testing.assert_close(value(MLLD(), *twice), 2 * value(MLLD(), *once), rtol=1e-12, atol=0)


def test_mlld__the_teachers_plain_view_says_what_counts_on_both() -> None:
    """Swapping the views of both networks is another loss; the strong view's own certainty is not asked."""
    student, teacher = outputs("mlld", (), 0), outputs("mlld", (), 1)
    turned = [Outputs(o.views[0], (), (o.logits,)) for o in (student, teacher)]

    assert value(MLLD(), *turned).item() != pytest.approx(value(MLLD(), student, teacher).item(), rel=1e-3)


def four_samples() -> tuple[Tensor, Tensor]:
    """Teacher and student; the teacher is surer of samples 1 and 3 and says classes 0 and 2 more often than 1 and 3."""
    teacher = torch.tensor([[1.0, 0, 0.5, 0], [6, 0, 0, 0], [0.5, 0, 1, 0], [0, 0, 6, 0.0]], dtype=torch.float64)
    return teacher, noise(4, 4, seed=3)


def test_mlld__divergences_of_samples_that_the_teacher_is_sure_of_count_nothing() -> None:
    """Where the student differs on those alone, the two relations are what is left."""
    teacher, other = four_samples()
    student = teacher.clone()
    student[[1, 3]] = other[[1, 3]]

    found = value(MLLD(temperatures=[1.0]), Outputs(student), Outputs(teacher))

    p_t, p_s = teacher.softmax(1), student.softmax(1)
    of_batch = (p_t @ p_t.T - p_s @ p_s.T)[:, [0, 2]].square().sum() / 4
    of_classes = (p_t.T @ p_t - p_s.T @ p_s)[:, [1, 3]].square().sum() / 4
    torch.testing.assert_close(found, of_batch + of_classes, rtol=1e-12, atol=0)
    assert of_batch > 1e-3
    assert of_classes > 1e-5


def test_mlld__the_other_samples_count_each_with_its_own_divergence() -> None:
    """Equal relations, different samples: the student answers two unsure samples with each other's probabilities.

    Their products among themselves and over the classes stay, so what remains is T^2 KL of the two, over four samples,
    and the products with the two others.
    """
    teacher, _ = four_samples()
    student = teacher[[2, 1, 0, 3]]

    found = value(MLLD(temperatures=[2.0]), Outputs(student), Outputs(teacher))

    p_t, p_s = (teacher / 2).softmax(1), (student / 2).softmax(1)
    kl = (p_t * (p_t / p_s).log()).sum(1)
    of_batch = (p_t @ p_t.T - p_s @ p_s.T)[:, [0, 2]].square().sum() / 4
    torch.testing.assert_close(found, 4 * (kl[0] + kl[2]) / 4 + of_batch, rtol=1e-10, atol=0)
    assert kl[0] > 1e-3


def test_mlld__equal_certainty_counts_everywhere() -> None:
    """A teacher that knows nothing: no half is less certain than the other."""
    student, flat = noise(6, 7, seed=0).requires_grad_(), torch.zeros(6, 7, dtype=torch.float64)

    (gradient,) = torch.autograd.grad(value(MLLD(), Outputs(student), Outputs(flat)), student)

    assert (gradient.abs().sum(1) > 1e-3).all()


@pytest.mark.parametrize(
    ("temperatures", "message"),
    [
        ([], r"Expected `temperatures` to hold at least one number, but got none\."),
        ([2.0, -1.0], r"Expected `temperatures` to be > 0, but got -1\.0\."),
    ],
)
def test_mlld__bad_temperatures_are_refused(temperatures: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MLLD(temperatures=temperatures)


def test_mlld__print_shows_the_settings() -> None:
    assert repr(MLLD(temperatures=[2])) == "MLLD(temperatures=(2.0,), gather=False)"


def test_mlld__keeps_no_more_than_its_matrices() -> None:
    """What the graph of one view at one temperature keeps: one [B, B], one [K, K], and a few [B, K]."""
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes() // tensor.element_size()
        return tensor

    rows, classes = 40, 300
    student = torch.randn(rows, classes, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        value(MLLD(temperatures=[2.0]), Outputs(student), Outputs(torch.randn(rows, classes)))

    assert sum(kept.values()) < rows**2 + classes**2 + 8 * rows * classes


# Two processes.


def of_one_process(rank: int, world: int, folder: str) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1"}
    dist.init_process_group("gloo", store=dist.FileStore(f"{folder}/store", world), rank=rank, world_size=world)
    case = Case.of("mlld", rows=7)

    def piece(tensor: Tensor) -> Tensor:
        return tensor.tensor_split(world)[rank]

    def own(said: Outputs) -> Outputs:
        return Outputs(piece(said.logits), (), tuple(map(piece, said.views)))

    student = leaves(own(case.student))
    found = MLLD(gather=True)(student, own(case.teacher), batch(len(student.logits)))
    found.backward()
    grads: list[Any] = [student.logits.grad, *(view.grad for view in student.views)]
    torch.save((found.detach(), grads), f"{folder}/found{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_mlld__gathered_is_the_loss_of_one_process(tmp_path: Path) -> None:
    """DDP takes the mean over the processes, so each says twice its own gradient."""
    torch.multiprocessing.spawn(of_one_process, (2, str(tmp_path)), nprocs=2)
    expected, gradients = Case.of("mlld", rows=7).value_and_gradients()

    found = [torch.load(tmp_path / f"found{rank}.pt") for rank in (0, 1)]

    for got, _ in found:
        torch.testing.assert_close(got, expected, rtol=1e-12, atol=0)
    for view in (0, 1):
        together = torch.cat([grads[view] for _, grads in found]) / 2
        torch.testing.assert_close(together, gradients[view], rtol=1e-10, atol=1e-14)
