from functools import partial

import pytest
import torch
from torch import nn

from kd_lab.models.ensemble import Ensemble
from kd_lab.models.mlp import MLP


def _ensemble(size=3):
    return Ensemble(partial(MLP, num_classes=4, input_shape=(5,)), size)


def test_ensemble__softmax_is_the_mean_probability():
    torch.manual_seed(0)
    module, inputs = _ensemble(), torch.randn(6, 5)
    mean = torch.stack([m(inputs).softmax(dim=-1) for m in module.members]).mean(dim=0)
    torch.testing.assert_close(module(inputs).softmax(dim=-1), mean)
    torch.testing.assert_close(module(inputs).exp(), mean)


def test_ensemble__members_start_from_other_weights():
    first, second, third = (m.state_dict()["layers.1.weight"] for m in _ensemble().members)
    assert not torch.equal(first, second)
    assert not torch.equal(second, third)


def test_ensemble__one_member_is_that_member():
    module, inputs = _ensemble(size=1), torch.randn(6, 5)
    torch.testing.assert_close(module(inputs), module.members[0](inputs).log_softmax(dim=-1))


def test_ensemble__extreme_logits_stay_finite():
    module = Ensemble(nn.Identity, 2)
    found = module(torch.tensor([[1e4, -1e4]]))
    torch.testing.assert_close(found, torch.tensor([[0.0, -2e4]]))


def test_ensemble__float32_under_autocast():
    module = _ensemble()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert module(torch.randn(2, 5)).dtype == torch.float32


def test_ensemble__double_stays_double():
    assert _ensemble().double()(torch.randn(2, 5, dtype=torch.float64)).dtype == torch.float64


def test_ensemble__size_is_checked():
    with pytest.raises(ValueError, match="`size` to be at least 1, but got 0"):
        _ensemble(size=0)


def test_ensemble__of_logits__their_mean():
    torch.manual_seed(0)
    module, inputs = Ensemble(partial(MLP, num_classes=4, input_shape=(5,)), 3, average="logits"), torch.randn(6, 5)
    logits = torch.stack([m(inputs) for m in module.members])
    torch.testing.assert_close(module(inputs), logits.mean(dim=0))
    geometric = logits.softmax(dim=-1).log().mean(dim=0).exp()
    torch.testing.assert_close(module(inputs).softmax(dim=-1), geometric / geometric.sum(dim=-1, keepdim=True))
    torch.testing.assert_close(Ensemble(nn.Identity, 1, average="logits")(inputs), inputs)
