"""Weights by uncertainty against their closed form."""

import math

import pytest
import torch

from kd_lab.strategies.uncertainty import HIGHEST, LOWEST, Uncertain, Uncertainty
from kd_lab.types import Share
from tests.strategies.toy import batches, check_strategy_step, training
from tests.training.toys import kd


def test_step__keeps_the_contract() -> None:
    check_strategy_step(Uncertainty())


def test_total_and_gradient__follow_from_the_equation() -> None:
    step = Uncertainty(start=0.3).step(training(kd(0.9, 0.1)))
    step.attach(torch.device("cpu"))
    found = step(next(batches()))
    losses = {name: float(value) for name, value in found.terms.items()}
    base = {"hard": 0.1, "kd": 0.9}
    expected = sum(base[n] * losses[n] / (2 * math.exp(0.3)) + 0.3 / 2 for n in base)
    assert float(found.total) == pytest.approx(expected, rel=1e-6)
    found.total.backward()
    by_hand = [-base[n] * losses[n] / (2 * math.exp(0.3)) + 0.5 for n in ("hard", "kd")]
    torch.testing.assert_close(step.log_variances.grad, torch.tensor(by_hand))


def test_total__of_two_batches_of_a_step_is_that_of_one() -> None:
    step = Uncertainty().step(training())
    step.attach(torch.device("cpu"))
    batch = next(batches())._replace(targets=torch.arange(8) % 3)
    half = Share(torch.tensor(0.5), torch.tensor(0.5))
    pieces = [
        batch._replace(inputs=batch.inputs[i : i + 4], targets=batch.targets[i : i + 4], share=half) for i in (0, 4)
    ]
    torch.testing.assert_close(sum(step(piece).total for piece in pieces), step(batch).total)


def test_variance__is_kept_in_its_range() -> None:
    step = Uncertainty().step(training())
    assert isinstance(step, Uncertain)
    with torch.no_grad():
        step.log_variances.copy_(torch.tensor([-9.0, 9.0]))
    step.at_step(3, 12)
    assert step.log_variances.tolist() == [LOWEST, HIGHEST]


def test_term_of_weight_0__takes_part_or_stays_out() -> None:
    factor = math.exp(0.5) / 2
    step = Uncertainty().step(training(kd(2.0, 0.0)))
    assert step.readings() == pytest.approx({"hard_weight": factor, "kd_weight": 2 * factor})
    step = Uncertainty(all_terms=False).step(training(kd(2.0, 0.0)))
    step.attach(torch.device("cpu"))
    assert list(step(next(batches())).terms) == ["kd"]
    assert step.readings() == pytest.approx({"kd_weight": 2 * factor})


def test_start__out_of_range() -> None:
    with pytest.raises(ValueError, match=r"`start` to be from -5 to 5, but got 9"):
        Uncertainty(start=9.0)
