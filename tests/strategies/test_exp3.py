"""The bandit over terms: its equations, and what it learns where one term is noise."""

import math

import pytest
import torch

import kd_lab
from kd_lab.errors import UserError
from kd_lab.strategies.exp3 import Bandit, Exp3
from kd_lab.training.objective import Term
from tests.strategies.test_look_ahead import Noise
from tests.strategies.toy import batches, check_strategy_step, objective, trained, training
from tests.training.toys import Linear, toy_data


def test_step__keeps_the_contract() -> None:
    check_strategy_step(Exp3(every=2))


def test_arm__gains_by_its_reward_over_its_probability() -> None:
    step = Exp3(gamma=0.2).step(training())
    assert isinstance(step, Bandit)
    step.arm.fill_(1)
    gains = torch.tensor([0.1, 0.5, 0.3], dtype=torch.float64)
    expected = [0.0, 0.0]
    for number, gain in enumerate(gains):
        powers = [math.exp(value) for value in expected]
        p = 0.8 * powers[1] / sum(powers) + 0.1
        low, high = torch.quantile(gains[: number + 1], torch.tensor([0.2, 0.8], dtype=torch.float64)).tolist()
        reward = 0.5 if high == low else min(max((float(gain) - low) / (high - low), 0.0), 1.0)
        expected[1] += 0.2 * reward / (2 * p)
        step.judge(gain, number)
    assert step.log_weights.tolist() == pytest.approx(expected)
    powers = [math.exp(value) for value in expected]
    found = step.readings()
    assert found["kd_probability"] == pytest.approx(0.8 * powers[1] / sum(powers) + 0.1)
    assert (found["hard_weight"], found["kd_weight"]) == (0.0, pytest.approx(2 * 0.9))


def test_labels__are_drawn_more_than_noise() -> None:
    data = toy_data(48, 0, 24)
    own = training(objective({"noise": Term(Noise(), 1.0)}, 1.0), data=data, network=Linear(), steps=150)
    step = Exp3(gamma=0.3, every=1).step(own)
    trained(step, list(batches(data, 150)), optimizer=torch.optim.SGD(own.network.parameters(), 0.005))
    assert step.readings()["hard_probability"] > 0.7


def test_job__without_a_validation_part_is_refused(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"^strategy\.every=10: learns from the validation part, and there is none"):
        kd_lab.distil("strategy=exp3", quiet=True)
    assert not list(tmp_path.iterdir())
