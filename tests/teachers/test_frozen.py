import pickle

import pytest
import torch
from torch import nn

from kd_lab.models.cnn import CNN
from kd_lab.teachers.frozen import FrozenTeacher
from kd_lab.types import Batch, Outputs


class Owner(nn.Module):
    def __init__(self, teacher):
        super().__init__()
        self.teacher = teacher
        self.student = nn.Linear(2, 2)


def _teacher():
    return FrozenTeacher(CNN(3, (1, 4, 4), channels=[2], hidden=4))


def _batch(inputs):
    return Batch(inputs, torch.zeros(len(inputs)), torch.arange(len(inputs)))


def test_frozen__answers_without_a_graph():
    found = _teacher()(_batch(torch.randn(2, 1, 4, 4, requires_grad=True)))
    assert isinstance(found, Outputs)
    assert found.logits.shape == (2, 3)
    assert not found.logits.requires_grad


def test_frozen__its_owner_does_not_reach_it():
    owner = Owner(_teacher())
    owner.train()
    assert not any(m.training for m in owner.teacher.module.modules())
    assert not any(p.requires_grad for p in owner.teacher.module.parameters())
    assert set(owner.state_dict()) == {"student.weight", "student.bias"}
    assert len(list(owner.parameters())) == 2


def test_frozen__answers_change_nothing():
    teacher = _teacher()
    before = {k: v.clone() for k, v in teacher.module.state_dict().items()}
    first, second = (teacher(_batch(torch.ones(4, 1, 4, 4))).logits for _ in range(2))
    assert torch.equal(first, second)
    assert all(torch.equal(before[k], v) for k, v in teacher.module.state_dict().items())


def test_frozen__pickles():
    teacher, inputs = _teacher(), _batch(torch.randn(2, 1, 4, 4))
    again = pickle.loads(pickle.dumps(teacher))
    assert torch.equal(again(inputs).logits, teacher(inputs).logits)
    assert not again.module.training


def test_frozen__attach_moves_and_returns_itself():
    teacher = _teacher()
    assert teacher.attach("meta") is teacher
    assert {p.device.type for p in teacher.module.parameters()} == {"meta"}


@pytest.mark.gpu
def test_frozen__cuda():
    found = _teacher().attach("cuda")(_batch(torch.zeros(2, 1, 4, 4, device="cuda")))
    assert found.logits.is_cuda
