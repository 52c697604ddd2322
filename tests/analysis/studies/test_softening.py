from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax
from scipy.stats import entropy

from kd_lab.analysis.studies.softening import entropy_nats, log_probabilities, probabilities, softened, spread_out
from kd_lab.errors import UserError

LOGITS = np.random.default_rng(0).normal(0, 6, size=(200, 10))


def kept(logits):
    """As a run keeps them: float32."""
    return softmax(logits, axis=1).astype(np.float32).astype(np.float64)


@pytest.mark.parametrize("temperature", [0.5, 1, 2, 4, 8, 20])
def test_softened__is_the_softmax_of_the_logits_at_that_temperature(temperature):
    np.testing.assert_allclose(softened(kept(LOGITS), temperature), softmax(LOGITS / temperature, axis=1), rtol=1e-5)


def test_softened__a_probability_kept_as_0_stays_the_smallest():
    found = softened(np.array([[1.0, 1e-40, 0.0]]), 20)[0]
    assert found[0] > found[1] > found[2] > 0
    assert found.sum() == pytest.approx(1)
    assert log_probabilities(np.array([[0.0]]))[0, 0] == pytest.approx(-103.28, abs=0.01)


@pytest.mark.parametrize("temperature", [0, -1, float("nan")])
def test_softened__no_such_temperature__value_error(temperature):
    with pytest.raises(ValueError, match=r"Expected `temperature` to be > 0, but got"):
        softened(kept(LOGITS), temperature)


def test_entropy__as_scipy_counts_it__0_where_one_class_is_certain():
    np.testing.assert_allclose(entropy_nats(kept(LOGITS)), entropy(softmax(LOGITS, axis=1), axis=1), atol=1e-5)
    assert entropy_nats(np.array([[1.0, 0.0], [0.5, 0.5]])).tolist() == [0, pytest.approx(np.log(2))]


def test_entropy__rises_with_the_temperature_to_ln_k():
    found = [entropy_nats(softened(kept(LOGITS), t)) for t in (1, 2, 4, 8, 20)]
    assert all((after > before).all() for before, after in pairwise(found))
    assert entropy_nats(softened(kept(LOGITS), 1e6)) == pytest.approx(np.log(10))


def test_probabilities__of_ten_classes_in_their_order__where_they_were_kept():
    frame = pd.DataFrame(
        {"target": [0], "target_probability": [0.5], **{f"probability_{k}": [k / 45] for k in range(10)}}
    )
    np.testing.assert_allclose(probabilities(frame), [np.arange(10) / 45])
    with pytest.raises(UserError, match="kept no whole probabilities"):
        probabilities(pd.DataFrame({"target_probability": [0.5]}))


def test_spread_out__from_the_surest_to_the_least_sure():
    frame = pd.DataFrame({"confidence": [0.5, 0.9, 0.7, 0.6, 0.8]})
    assert spread_out(frame, 3).tolist() == [1, 2, 0]
    assert spread_out(frame, 9).tolist() == [1, 4, 2, 3, 0]
