"""Answers out of fold, from the teacher's fit to what a student is taught."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from kd_lab.errors import UserError
from kd_lab.job.lessons import Lessons
from kd_lab.job.plan import Plan
from kd_lab.job.train import _fitted
from kd_lab.models.sklearn import SklearnEstimator
from kd_lab.types import Batch
from tests.job.composed import plan

LINEAR = [
    "teacher=sklearn",
    "teacher.estimator._target_=sklearn.linear_model.LogisticRegression",
    "dataset/augment=none",
]
OUT_OF_FOLD = [*LINEAR, "teacher.answers=out_of_fold", "teacher.folds=4"]


def taught(made: Plan) -> SklearnEstimator:
    assert made.built is not None
    assert made.specs.teacher is not None
    network = made.built.teacher
    assert isinstance(network, SklearnEstimator)
    _fitted(made, made.specs.teacher, network)
    return network


@pytest.mark.slow
def test_lessons__labelled_rows_out_of_fold_all_others_by_the_whole() -> None:
    made = plan(*OUT_OF_FOLD)
    network, data = taught(made), made.data
    rows = torch.arange(len(data.targets))
    inputs = data.rows(rows).batch(0, len(rows), "cpu")
    said = Lessons.of(made, network).answer(Batch(inputs, data.targets, rows)).logits.exp().numpy()
    X, train = inputs.flatten(1).numpy(), data.train.numpy()
    cut = StratifiedKFold(4, shuffle=True, random_state=network._seed)
    own = cross_val_predict(LogisticRegression(), X[train], data.targets[train].numpy(), cv=cut, method="predict_proba")
    others = np.setdiff1d(rows.numpy(), train)
    np.testing.assert_allclose(said[train], np.maximum(own, 1e-6), rtol=1e-4)
    np.testing.assert_allclose(said[others], np.maximum(network.estimator.predict_proba(X[others]), 1e-6), rtol=1e-4)


def test_keys__how_it_answers_its_own_samples_is_part_of_what_a_teacher_is() -> None:
    keys = set()
    for own in (LINEAR, OUT_OF_FOLD, [*OUT_OF_FOLD[:-1], "teacher.folds=5"]):
        made = plan(*own)
        assert made.specs.teacher is not None
        keys.add(made.specs.world.key(made.specs.teacher))
    assert len(keys) == 3


def test_lessons__of_other_data_than_it_was_fitted_on() -> None:
    network = taught(plan(*OUT_OF_FOLD))
    with pytest.raises(
        UserError, match=r"^teacher.answers: the teacher keeps what it says of the samples that it learned"
    ):
        Lessons.of(plan(*OUT_OF_FOLD, "dataset.seed=1"), network)
