"""The weight of each class in the cross-entropy with hard labels, from `loss.class_weights`."""

import re

import pytest
import torch

from kd_lab.errors import UserError
from kd_lab.job.class_weights import class_weights
from tests.job.composed import plan


def test_class_weights__reach_every_network_of_a_job() -> None:
    made = plan("teacher=mlp", "loss.class_weights=balanced", "student.recipe.class_weights=null")
    assert made.settings.teacher.recipe.class_weights == "balanced"
    assert made.settings.student.recipe.class_weights is None
    assert made.built.bound.objective.class_weights is None
    assert made.specs.job_key() != plan("teacher=mlp").specs.job_key()


def test_class_weights__balanced__each_class_counts_as_much() -> None:
    made = plan("teacher=mlp", "loss.class_weights=balanced")
    weights, counts = made.built.bound.objective.class_weights, torch.bincount(made.data.targets[made.data.train])
    torch.testing.assert_close(weights * counts, torch.full((10,), len(made.data.train) / 10))


def test_class_weights__balanced_without_a_class__weighs_nothing() -> None:
    made = plan("teacher=mlp", "dataset.labels=null")
    rows = made.data.train[made.data.targets[made.data.train] != 3]
    weights = class_weights("student.recipe", "balanced", made.data, rows)
    assert weights[3] == 0
    assert float(weights[made.data.targets[rows]].mean()) == pytest.approx(1)


@pytest.mark.parametrize("given", ["[1,2]", "[0,0,0,0,0,0,0,0,0,0]"])
def test_class_weights__not_one_for_each_class__says_what_was_expected(given: str) -> None:
    said = re.escape(given.replace(",", ".0, ").replace("]", ".0]"))
    with pytest.raises(UserError, match=f"^teacher.recipe.class_weights={said}: expected a weight for each of the 10"):
        plan("teacher=mlp", f"loss.class_weights={given}")


def test_class_weights__a_word_that_is_none() -> None:
    with pytest.raises(UserError, match=r"class_weights=equal: expected"):
        plan("teacher=mlp", "loss.class_weights=equal")
