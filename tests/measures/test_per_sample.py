import numpy as np
import pytest
import torch

from kd_lab.measures import per_sample as module
from kd_lab.measures.per_sample import per_sample

LOGITS = torch.log(torch.tensor([[0.7, 0.2, 0.1], [0.3, 0.3, 0.4]]))
TARGETS = torch.tensor([1, 2])
INDEX = torch.tensor([40, 7])


def test_per_sample__what_was_answered_and_how_surely():
    found = per_sample(LOGITS, TARGETS, INDEX)
    assert list(found["index"]) == [40, 7]
    assert list(found["target"]) == [1, 2]
    assert list(found["predicted"]) == [0, 2]
    np.testing.assert_allclose(found["confidence"], [0.7, 0.4], rtol=1e-6)
    np.testing.assert_allclose(found["target_probability"], [0.2, 0.4], rtol=1e-6)
    np.testing.assert_allclose(found["probabilities"], [[0.7, 0.2, 0.1], [0.3, 0.3, 0.4]], rtol=1e-6)
    assert found["probabilities"].dtype == np.float32


def test_per_sample__too_many_probabilities__only_the_columns(monkeypatch):
    monkeypatch.setattr(module, "MAX_PROBABILITIES", 5)
    assert set(per_sample(LOGITS, TARGETS, INDEX)) == {
        "index",
        "target",
        "predicted",
        "confidence",
        "target_probability",
    }
    monkeypatch.setattr(module, "MAX_PROBABILITIES", 6)
    assert "probabilities" in per_sample(LOGITS, TARGETS, INDEX)


def test_per_sample__probabilities_that_round_to_the_same__the_larger_logit_was_the_answer():
    found = per_sample(torch.tensor([[0.0, 1e-30]]).double(), torch.tensor([0]), torch.tensor([0]))
    assert list(found["predicted"]) == [1]


def test_per_sample__extreme_logits__no_nan():
    found = per_sample(torch.tensor([[1e30, -1e30]]), torch.tensor([1]), torch.tensor([0]))
    assert (found["confidence"][0], found["target_probability"][0]) == (1, 0)


def test_per_sample__an_index_that_does_not_fit__value_error():
    with pytest.raises(ValueError, match="an index for each of 2 samples"):
        per_sample(LOGITS, TARGETS, INDEX[:1])
