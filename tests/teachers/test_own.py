import pytest
import torch
from torch import nn

from kd_lab.teachers.frozen import FrozenTeacher
from kd_lab.teachers.own import OwnTeacher
from kd_lab.types import Batch
from tests.contracts.teachers import check_teacher

OWN = torch.tensor([[9.0, 0.0, 0.0], [0.0, 9.0, 0.0]])


def network() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(4, 3)


def batch(index: list[int]) -> Batch:
    rows = torch.tensor(index)
    inputs = rows[:, None] + torch.arange(4.0)
    return Batch(inputs, rows % 3, rows, (inputs + 1,))


def test_own_teacher__keeps_the_contract() -> None:
    made = network()
    check_teacher(
        lambda: OwnTeacher(FrozenTeacher(made), torch.tensor([5, 2]), OWN, 8), batch([0, 2, 5, 7]), lambda: [made]
    )


@pytest.mark.parametrize("index", [[0, 2, 5, 7], [5, 5, 1]])
def test_own_teacher__answers_its_rows_as_told_and_all_else_and_all_views_as_the_network(index: list[int]) -> None:
    made, given = network(), batch(index)
    said = OwnTeacher(FrozenTeacher(made), torch.tensor([5, 2]), OWN, 8).attach("cpu")(given)
    expected = torch.stack(
        [OWN[[5, 2].index(i)] if i in {5, 2} else made(given.inputs)[k] for k, i in enumerate(index)]
    )
    torch.testing.assert_close(said.logits, expected)
    torch.testing.assert_close(said.views[0], made(given.views[0]))
