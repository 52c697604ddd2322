"""Classifiers of scikit-learn's kind as teachers: what they answer, how they are kept, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from kd_lab.errors import UserError
from kd_lab.models.common.estimators import TREES, dumped, loaded
from kd_lab.models.common.weights import load_weights, save_weights, weights_sha256
from kd_lab.models.sklearn import SklearnEstimator
from tests.job.composed import plan

X = np.random.default_rng(0).normal(size=(120, 4)).astype(np.float32)
Y = np.arange(120) % 3
X[:, 0] += Y


def fitted(estimator: Any, num_classes: int = 3, **more: float) -> SklearnEstimator:
    network = SklearnEstimator(estimator, num_classes, **more)
    network.fit(torch.from_numpy(X).reshape(120, 2, 2), torch.from_numpy(Y), None)
    return network


KINDS = [
    RandomForestClassifier(5, random_state=0),
    HistGradientBoostingClassifier(max_iter=4, min_samples_leaf=5),
    LogisticRegression(),
    make_pipeline(StandardScaler(), RandomForestClassifier(3, random_state=0)),
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda one: type(one).__name__)
def test_estimator__answers_its_probabilities_and_comes_back_from_a_file(kind: Any, tmp_path: Path) -> None:
    network = fitted(kind, 4)
    logits = network(torch.from_numpy(X))
    expected = np.maximum(np.pad(network.estimator.predict_proba(X), ((0, 0), (0, 1))), 1e-6)
    np.testing.assert_allclose(logits.numpy(), np.log(expected), rtol=1e-5)
    save_weights(network, tmp_path / "w.safetensors")
    again = SklearnEstimator(type(kind)() if not hasattr(kind, "steps") else make_pipeline(LogisticRegression()), 4)
    load_weights(again, tmp_path / "w.safetensors")
    assert torch.equal(again(torch.from_numpy(X)), logits)
    assert weights_sha256(again) == weights_sha256(network)


def test_estimator__not_fitted__all_classes_alike() -> None:
    assert (
        SklearnEstimator(LogisticRegression(), 3)(torch.zeros(2, 4)).softmax(1).tolist()
        == [[pytest.approx(1 / 3)] * 3] * 2
    )


def test_estimator__its_chance_follows_from_the_networks_seed() -> None:
    def seeds(seed: int) -> int:
        torch.manual_seed(seed)
        return int(SklearnEstimator(RandomForestClassifier(), 3).estimator.random_state)

    assert seeds(1) == seeds(1) != seeds(2)
    assert SklearnEstimator(RandomForestClassifier(random_state=7), 3).estimator.random_state == 7


def test_estimator__weights_of_samples() -> None:
    """All weight on two classes: the third is never answered."""
    network = SklearnEstimator(LogisticRegression(), 3)
    network.fit(torch.from_numpy(X), torch.from_numpy(Y), torch.tensor([1.0, 1.0, 1e-9])[Y])
    assert set(network(torch.from_numpy(X)).argmax(1).tolist()) == {0, 1}


def test_estimator__without_probabilities_or_with_a_floor_that_is_none() -> None:
    with pytest.raises(ValueError, match=r"predict_proba, but LinearSVC gives no probabilities"):
        SklearnEstimator(LinearSVC(), 3)
    with pytest.raises(ValueError, match=r"`floor` to be between 0 and 1, but got 0"):
        SklearnEstimator(LogisticRegression(), 3, floor=0)


@pytest.mark.parametrize(
    ("array", "value"), [("left_child", 10**6), ("left_child", 0), ("feature", 4), ("feature", -7)]
)
def test_loaded__a_tree_that_points_elsewhere_is_refused(array: str, value: int) -> None:
    """scikit-learn follows these numbers without looking: out of its memory, or round and round."""
    forest = fitted(RandomForestClassifier(2, random_state=0)).estimator
    state = forest.estimators_[1].tree_.__getstate__()
    state["nodes"][array][0] = value
    forest.estimators_[1].tree_.__setstate__(state)
    with pytest.raises(UserError, match=r"^teacher.estimator: the stored one is no tree"):
        loaded(dumped(forest))


@pytest.mark.parametrize(("field", "value"), [("left", 10**6), ("right", 0)])
def test_loaded__a_boosted_tree_that_points_elsewhere_is_refused(field: str, value: int) -> None:
    boosted = fitted(HistGradientBoostingClassifier(max_iter=2, min_samples_leaf=5)).estimator
    boosted._predictors[1][0].nodes[field][0] = value
    with pytest.raises(UserError, match=r"^teacher.estimator: the stored one is no tree"):
        loaded(dumped(boosted))


def test_loaded__a_class_that_cannot_be_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    content = dumped(fitted(KNeighborsClassifier()).estimator)
    with pytest.raises(UserError, match=r"holds sklearn\.metrics.*KDTree.*add trust=sklearn "):
        loaded(content)
    monkeypatch.setenv("KD_LAB_TRUST", "sklearn")
    np.testing.assert_array_equal(loaded(content).predict(X), KNeighborsClassifier().fit(X, Y).predict(X))


def test_trees__are_what_skops_leaves_to_us() -> None:
    from skops.io import get_untrusted_types

    found = {name for kind in KINDS for name in get_untrusted_types(data=dumped(fitted(kind).estimator))}
    assert found == set(TREES)


def test_plan__a_student_cannot_be_fitted() -> None:
    with pytest.raises(UserError, match=r"^student._target_=.*\.SklearnEstimator: is fitted, not trained by"):
        plan("student=sklearn")
