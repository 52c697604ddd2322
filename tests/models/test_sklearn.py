"""Classifiers of scikit-learn's kind as teachers: what they answer, how they are kept, and what is refused."""

from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from kd_lab.errors import TrainingFailedError, UserError
from kd_lab.job import notes
from kd_lab.models.common.estimators import TREES, dumped, loaded
from kd_lab.models.common.weights import load_weights, save_weights, weights_sha256
from kd_lab.models.sklearn import SklearnEstimator
from tests.job.composed import plan

X = np.random.default_rng(0).normal(size=(120, 4)).astype(np.float32)
Y = np.arange(120) % 3
X[:, 0] += Y


def fitted(estimator: Any, num_classes: int = 3, **more: Any) -> SklearnEstimator:
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


@pytest.mark.parametrize("library", ["lightgbm", "xgboost"])
def test_estimator__of_another_library_teaches_and_comes_back_once_it_is_trusted(
    library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = pytest.importorskip(library)
    kind = module.LGBMClassifier(n_estimators=5, verbose=-1) if library == "lightgbm" else module.XGBClassifier()
    network = fitted(kind)
    np.testing.assert_allclose(network(torch.from_numpy(X)).exp(), kind.predict_proba(X), rtol=1e-4)
    again = SklearnEstimator(type(kind)(), 3)
    with pytest.raises(UserError, match=rf"holds {library}\.\S+, {library}\.\S+, which is not .* add trust={library} "):
        again.set_extra_state(network.get_extra_state())
    monkeypatch.setenv("KD_LAB_TRUST", library)
    again.set_extra_state(network.get_extra_state())
    assert torch.equal(again(torch.from_numpy(X)), network(torch.from_numpy(X)))


def test_loaded__an_ordered_dictionary_is_harmless() -> None:
    assert loaded(dumped(OrderedDict(first=1))) == OrderedDict(first=1)


def test_trees__are_what_skops_leaves_to_us() -> None:
    from skops.io import get_untrusted_types

    found = {name for kind in KINDS for name in get_untrusted_types(data=dumped(fitted(kind).estimator))}
    assert found == set(TREES)


def test_plan__a_student_cannot_be_fitted() -> None:
    with pytest.raises(UserError, match=r"^student._target_=.*\.SklearnEstimator: is fitted, not trained by"):
        plan("student=sklearn")


# What it teaches of the samples that it learned from.


def own(network: SklearnEstimator) -> np.ndarray:
    said = network.own_answers(torch.from_numpy(X).reshape(120, 2, 2), torch.from_numpy(Y))
    assert said is not None
    return said.double().exp().numpy()


@pytest.mark.parametrize(
    "kind",
    [LogisticRegression(), RandomForestClassifier(5, random_state=3), HistGradientBoostingClassifier(max_iter=3)],
    ids=lambda one: type(one).__name__,
)
def test_own_answers__out_of_fold_are_those_of_cross_val_predict(kind: Any) -> None:
    torch.manual_seed(5)
    network = SklearnEstimator(clone(kind), 3, answers="out_of_fold", folds=4)
    network.fit(torch.from_numpy(X).reshape(120, 2, 2), torch.from_numpy(Y), None)
    cut = StratifiedKFold(4, shuffle=True, random_state=network._seed)
    expected = cross_val_predict(clone(network.estimator), X, Y, cv=cut, method="predict_proba")
    np.testing.assert_allclose(own(network), np.maximum(expected, 1e-6), rtol=1e-5)
    torch.manual_seed(5)
    plain = SklearnEstimator(clone(kind), 3)
    plain.fit(torch.from_numpy(X), torch.from_numpy(Y), None)
    assert torch.equal(network(torch.from_numpy(X)), plain(torch.from_numpy(X)))


def test_own_answers__out_of_fold_with_weights_of_samples() -> None:
    weights = np.array([1.0, 2.0, 5.0])[Y]
    network = SklearnEstimator(LogisticRegression(), 3, answers="out_of_fold", folds=3)
    network.fit(torch.from_numpy(X), torch.from_numpy(Y), torch.from_numpy(weights))
    cut = StratifiedKFold(3, shuffle=True, random_state=network._seed)
    expected = np.empty((120, 3))
    for train, rest in cut.split(X, Y):
        expected[rest] = (
            LogisticRegression().fit(X[train], Y[train], sample_weight=weights[train]).predict_proba(X[rest])
        )
    said = network.own_answers(torch.from_numpy(X), torch.from_numpy(Y))
    assert said is not None
    np.testing.assert_allclose(said.exp().numpy(), np.maximum(expected, 1e-6), rtol=1e-4)


def test_own_answers__out_of_bag_are_the_forests_and_come_back_from_a_file(tmp_path: Path) -> None:
    network = fitted(RandomForestClassifier(40, random_state=0), answers="out_of_bag")
    expected = RandomForestClassifier(40, random_state=0, oob_score=True).fit(X, Y)
    np.testing.assert_allclose(own(network), np.maximum(expected.oob_decision_function_, 1e-6), rtol=1e-5)
    np.testing.assert_allclose(
        network(torch.from_numpy(X)).exp(), np.maximum(expected.predict_proba(X), 1e-6), rtol=1e-5
    )
    save_weights(network, tmp_path / "w.safetensors")
    again = SklearnEstimator(RandomForestClassifier(), 3, answers="out_of_bag")
    load_weights(again, tmp_path / "w.safetensors")
    np.testing.assert_array_equal(own(again), own(network))
    assert weights_sha256(again) == weights_sha256(network)


def test_own_answers__in_bag_there_are_none_and_the_weights_are_what_they_were() -> None:
    network = fitted(LogisticRegression())
    assert network.own_answers(torch.from_numpy(X), torch.from_numpy(Y)) is None
    assert list(network.state_dict()) == ["_extra_state"]
    assert (
        SklearnEstimator(LogisticRegression(), 3, answers="out_of_fold").own_answers(torch.zeros(3, 2), torch.zeros(3))
        is None
    )


def test_own_answers__to_other_samples_are_refused() -> None:
    network = fitted(LogisticRegression(), answers="out_of_fold")
    for inputs, targets in [(X + 1, Y), (X, (Y + 1) % 3), (X[:60], Y[:60])]:
        with pytest.raises(
            UserError, match=r"^teacher.answers: the teacher keeps what it says of the samples that it lear"
        ):
            network.own_answers(torch.from_numpy(inputs), torch.from_numpy(targets))


def test_own_answers__what_cannot_be() -> None:
    with pytest.raises(
        ValueError, match=r"`answers` to be in_bag or out_of_fold of a LogisticRegression, which draws no"
    ):
        SklearnEstimator(LogisticRegression(), 3, answers="out_of_bag")
    with pytest.raises(ValueError, match=r"`folds` to be at least 2, but got 1"):
        SklearnEstimator(LogisticRegression(), 3, answers="out_of_fold", folds=1)
    with (
        pytest.raises(
            TrainingFailedError, match=r"^teacher.answers=out_of_bag: \d+ of 120 samples are in the bag of ever"
        ),
        pytest.warns(UserWarning, match="do not have OOB"),
    ):
        fitted(RandomForestClassifier(2, random_state=0), answers="out_of_bag")
    with pytest.raises(
        UserError, match=r"^teacher.folds=5: expected at most 2, the labelled samples of class 1, so that"
    ):
        SklearnEstimator(LogisticRegression(), 3, answers="out_of_fold").check(torch.tensor([0, 0, 0, 1, 1]))


def test_plan__answers_out_of_fold_do_not_go_with_augmented_samples() -> None:
    with pytest.raises(
        UserError, match=r"^teacher.answers: what a teacher says out of 5 folds belongs to samples as they"
    ):
        plan("teacher=sklearn", "teacher.answers=out_of_fold", "student.recipe.augment=true")
    told = notes.described(plan("teacher=sklearn", "teacher.answers=out_of_fold", "dataset/augment=none"))
    assert told == ["teacher: the 100 samples that it learns from are answered out of 5 folds"]
    with pytest.raises(UserError, match=r"^teacher.folds=20: expected at most \d+, the labelled samples of class \d"):
        plan("teacher=sklearn", "teacher.answers=out_of_fold", "teacher.folds=20", "dataset/augment=none")
