import numpy as np
import pandas as pd
import pytest

from kd_lab.analysis.figures.networks import confusion_matrix, reliability, reliability_diagrams
from kd_lab.errors import UserError
from tests.analysis.made_up import drawn


def test_confusion_matrix__share_of_the_true_class_and_counts():
    counts = np.array([[3, 1, 0], [0, 0, 0], [2, 0, 6]])
    figure = confusion_matrix(counts, "student")
    axes = figure.axes[0]
    np.testing.assert_allclose(axes.images[0].get_array(), [[0.75, 0.25, 0], [0, 0, 0], [0.25, 0, 0.75]])
    assert sorted(text.get_text() for text in axes.texts) == ["1", "2", "3", "6"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "true class")
    assert drawn(figure)


def test_confusion_matrix__many_classes__no_numbers():
    figure = confusion_matrix(np.eye(100, dtype=np.int64), "many")
    assert list(figure.axes[0].texts) == []
    assert drawn(figure)


def test_reliability__empty_bins__not_drawn():
    empty = float("nan")
    figure = reliability(
        np.array([0, 2, 0, 6]), np.array([empty, 0.4, empty, 0.9]), np.array([empty, 0.5, empty, 1.0]), 0.1, "student"
    )
    upper, lower = figure.axes
    assert [(bar.get_x(), bar.get_height()) for bar in upper.patches] == [(0.25, 0.5), (0.75, 1.0)]
    assert [bar.get_height() for bar in lower.patches] == [0.25, 0.75]
    assert upper.get_title() == "student\nECE 0.100 (4 bins)"
    assert drawn(figure)


def seed(confidence, right):
    target = np.zeros(len(confidence), dtype=int)
    return pd.DataFrame({"target": target, "predicted": 1 - np.array(right), "confidence": confidence})


def test_reliability_diagrams__bars_of_pooled_seeds_and_the_mean_of_their_ece():
    seeds = [seed([0.9, 0.9], [1, 0]), seed([0.9, 0.9], [1, 1])]
    figure = reliability_diagrams({"teacher": [seed([0.99], [1])], "kd": seeds}, {"teacher": "#E69F00"})
    upper = figure.axes[1]
    assert [round(bar.get_height(), 6) for bar in upper.patches] == [0.75]
    # |0.5 - 0.9| and |1 - 0.9|, not the |0.75 - 0.9| of all four.
    assert upper.get_title() == "kd\nECE 25.00%, mean of 2"
    assert figure.axes[0].get_title() == "teacher\nECE 1.00%"
    assert figure.axes[0].patches[0].get_facecolor()[:3] == pytest.approx((0xE6 / 255, 0x9F / 255, 0))
    assert drawn(figure)


def test_reliability_diagrams__more_than_a_row__no_empty_frames():
    figure = reliability_diagrams({f"loss{n}": [seed([0.5], [1])] for n in range(4)})
    assert len(figure.axes) == 8
    assert drawn(figure)


def test_reliability_diagrams__no_predictions__user_error():
    with pytest.raises(UserError, match="None of these runs kept predictions"):
        reliability_diagrams({"kd": []})
