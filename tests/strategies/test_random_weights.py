"""Random weights: what they average to, what they follow from, and what a job of one term is told."""

import numpy as np
import pytest

import kd_lab
from kd_lab.errors import UserError
from kd_lab.strategies.random_weights import RandomWeights
from tests.strategies.toy import check_strategy_step, training
from tests.training.toys import kd


def test_step__keeps_the_contract() -> None:
    check_strategy_step(RandomWeights())


def test_weights__have_the_mean_1_and_follow_from_seed_and_step() -> None:
    drawn = []
    for _ in range(2):
        step = RandomWeights().step(training(kd(1.0, 1.0)))
        for number in range(500):
            step.at_step(number, 500)
            drawn.append([step.readings()["hard_weight"], step.readings()["kd_weight"]])
    first, again = np.split(np.array(drawn), 2)
    assert np.array_equal(first, again)
    assert first.sum(1) == pytest.approx(2.0)
    # The softmax of two normal numbers is a sigmoid of their difference, of variance 2: sd 0.2664 around 1/2.
    assert first[:, 0].mean() == pytest.approx(1.0, abs=0.1)
    assert first[:, 0].std() == pytest.approx(2 * 0.2664, abs=0.05)


def test_job__of_one_term_is_refused(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"^strategy\.all_terms=false: only kd has a weight above 0"):
        kd_lab.distil("strategy=random_weights", "strategy.all_terms=false", quiet=True)
    assert not list(tmp_path.iterdir())
