"""Dynamic KD against its equation, by hand."""

import math

import pytest
import torch
from torch.nn import functional as F

from kd_lab.strategies.dynamic_kd import DynamicKD
from tests.strategies.toy import batches, check_strategy_step, training
from tests.training.toys import kd


def test_step__keeps_the_contract() -> None:
    check_strategy_step(DynamicKD())


def test_total_and_gradient__follow_from_the_equation() -> None:
    own = training(kd(0.9, 0.1, temperature=2.0))
    step = DynamicKD().step(own)
    batch, parameters = next(batches()), list(own.network.parameters())
    found = step(batch)
    logits, taught = own.network(batch.inputs), own.networks[0](batch.inputs)
    p, softened = logits.detach().softmax(1), (taught / 2).softmax(1)
    weights = -(p * p.log()).sum(1) / math.log(3)
    divergence = (softened * (softened.log() - (logits / 2).log_softmax(1))).sum(1)
    expected = 0.9 * (weights * 4 * divergence).mean() + 0.1 * F.cross_entropy(logits, batch.targets)
    torch.testing.assert_close(found.total, expected)
    gradients = [torch.autograd.grad(total, parameters) for total in (found.total, expected)]
    torch.testing.assert_close(gradients[0], gradients[1])
    assert step.readings()["sample_weight"] == pytest.approx(float(weights.mean()))
    assert found.terms["kd"].item() == pytest.approx((4 * divergence.mean()).item(), rel=1e-5)
