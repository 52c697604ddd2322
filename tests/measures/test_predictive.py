import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kd_lab import names
from kd_lab.measures.predictive import confusion, predictive, reliability_bins
from tests.reference import measures_numpy as reference


def _case(seed, samples, classes, scale):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(samples, classes, generator=generator) * scale
    return logits, torch.randint(classes, (samples,), generator=generator)


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 10_000),
    samples=st.integers(1, 60),
    classes=st.sampled_from([2, 3, 9, 10, 40]),
    scale=st.sampled_from([0.1, 1.0, 6.0]),
)
def test_predictive__equals_the_naive_version(seed, samples, classes, scale):
    logits, targets = _case(seed, samples, classes, scale)
    rows, labels = logits.double().tolist(), targets.tolist()
    recall, f1, area = reference.by_class(rows, labels, classes)
    expected = {
        names.TEST_ACCURACY_TOP1: reference.top(rows, labels, 1),
        names.TEST_ACCURACY_BALANCED: recall,
        names.TEST_F1_MACRO: f1,
        names.TEST_MAJORITY: max(labels.count(k) for k in labels) / samples,
        names.TEST_CLASSES_ANSWERED: len({reference.order(row)[0] for row in rows}),
        names.TEST_NLL_NATS: reference.nll(rows, labels),
        names.TEST_BRIER: reference.brier(rows, labels),
        names.TEST_ECE: reference.ece(rows, labels),
    }
    if classes <= 20 and area is not None:
        expected[names.TEST_AUROC_MACRO] = area
    if classes >= 10:
        expected[names.TEST_ACCURACY_TOP5] = reference.top(rows, labels, 5)
    assert predictive(logits, targets) == pytest.approx(expected, rel=1e-10, abs=1e-12)


def test_predictive__values_by_hand():
    # Probabilities 0.8 and 0.2; the first sample is right, the second wrong.
    logits = torch.log(torch.tensor([[0.8, 0.2], [0.8, 0.2]], dtype=torch.float64))
    found = predictive(logits, torch.tensor([0, 1]))
    assert found[names.TEST_ACCURACY_TOP1] == 0.5
    assert found[names.TEST_NLL_NATS] == pytest.approx(-(np.log(0.8) + np.log(0.2)) / 2)
    assert found[names.TEST_BRIER] == pytest.approx((0.08 + 1.28) / 2)
    assert found[names.TEST_ECE] == pytest.approx(0.3)


def test_predictive__a_network_that_answers_the_commonest_class():
    """Ninety in a hundred are right, and nothing was learned: each measure of unequal classes says so."""
    found = predictive(torch.tensor([[1.0, 0.0]]).repeat(100, 1), torch.tensor([0] * 90 + [1] * 10))
    assert found[names.TEST_ACCURACY_TOP1] == found[names.TEST_MAJORITY] == 0.9
    assert found[names.TEST_CLASSES_ANSWERED] == 1
    assert found[names.TEST_ACCURACY_BALANCED] == found[names.TEST_AUROC_MACRO] == 0.5
    assert found[names.TEST_F1_MACRO] == pytest.approx((2 * 90 / 190 + 0) / 2)


@pytest.mark.parametrize(("classes", "present"), [(9, False), (10, True)])
def test_predictive__top5_only_from_ten_classes(classes, present):
    assert (names.TEST_ACCURACY_TOP5 in predictive(*_case(0, 5, classes, 1.0))) is present


def test_predictive__ties_go_to_the_lower_class():
    found = predictive(torch.zeros(10, 10), torch.arange(10))
    assert found[names.TEST_ACCURACY_TOP1] == 0.1
    assert found[names.TEST_ACCURACY_TOP5] == 0.5


@pytest.mark.parametrize(("classes", "expected"), [(3, 4), (5, 2), (2, 7)])
def test_reliability__bins_are_closed_on_the_right(classes, expected):
    # Equal logits give confidence 1/classes: 5/15 and 3/15 are edges and belong to the bin below; 7.5/15 is inside.
    counts = reliability_bins(torch.zeros(1, classes), torch.tensor([0])).counts
    assert counts.tolist() == [int(i == expected) for i in range(15)]


def test_reliability__certainty_is_in_the_last_bin():
    bins = reliability_bins(torch.tensor([[0.0, 1e4]]), torch.tensor([1]))
    assert (bins.counts[-1], bins.confidence[-1], bins.accuracy[-1]) == (1, 1.0, 1.0)


def test_reliability__equals_the_naive_version():
    logits, targets = _case(3, 500, 4, 2.0)
    found = reliability_bins(logits, targets)
    for i, members in enumerate(reference.bins(logits.double().tolist(), targets.tolist())):
        assert found.counts[i] == len(members)
        assert found.confidence[i] == pytest.approx(np.mean([c for c, _ in members]) if members else 0.0)
        assert found.accuracy[i] == pytest.approx(np.mean([r for _, r in members]) if members else 0.0)


def test_confusion__rows_are_true_classes():
    logits, targets = _case(4, 200, 6, 1.0)
    found = confusion(logits, targets)
    np.testing.assert_array_equal(found, reference.confusion(logits.tolist(), targets.tolist(), 6))
    assert confusion(torch.tensor([[0.0, 1.0]]), torch.tensor([0])).tolist() == [[0, 1], [0, 0]]


@pytest.mark.parametrize(
    ("logits", "targets", "message"),
    [
        (torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64), r"N at least 1, but got \(0, 3\)"),
        (torch.zeros(2, 3), torch.tensor([0]), r"got \(2, 3\) and \(1,\)"),
        (torch.zeros(1, 3), torch.tensor([-100]), r"targets in 0\.\.2, but got -100\.\.-100"),
        (torch.zeros(1, 3), torch.tensor([3]), r"targets in 0\.\.2, but got 3\.\.3"),
        (torch.tensor([[0.0, float("nan")], [0.0, 1.0]]), torch.tensor([0, 1]), "1 of 2 samples have NaN"),
    ],
)
def test_predictive__says_what_is_wrong(logits, targets, message):
    with pytest.raises(ValueError, match=message):
        predictive(logits, targets)
