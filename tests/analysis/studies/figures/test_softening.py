import numpy as np
import pandas as pd
import pytest

from kd_lab.analysis.studies.figures.softening import entropy_against_temperature, softened_answers
from tests.analysis.made_up import drawn

KEPT = np.array([[0.5, 0.25, 0.25], [0.8, 0.1, 0.1]])


def frame():
    return pd.DataFrame({"target": [0, 2], **{f"probability_{k}": KEPT[:, k] for k in range(3)}})


def test_softened_answers__a_picture_and_bars_at_each_temperature():
    images = np.arange(8).reshape(2, 2, 2)
    figure = softened_answers(images, frame(), [1, 2])
    assert len(figure.axes) == 6
    first, at_1, at_2 = figure.axes[:3]
    np.testing.assert_array_equal(first.images[0].get_array(), images[0])
    assert first.get_ylabel() == "label 0"
    assert [bar.get_height() for bar in at_1.patches] == pytest.approx(KEPT[0])
    roots = np.sqrt(KEPT[0])
    assert [bar.get_height() for bar in at_2.patches] == pytest.approx(roots / roots.sum())
    assert (at_1.get_title(), at_2.get_title()) == ("T = 1", "T = 2")
    colours = [bar.get_facecolor() for bar in figure.axes[4].patches]
    assert colours[0] == colours[1] != colours[2]
    assert drawn(figure)


def test_entropy_against_temperature__mean_over_samples_below_ln_k():
    axes = entropy_against_temperature(frame(), [1, 2]).axes[0]
    mean, most = (list(line.get_ydata()) for line in axes.lines)
    expected = [-(KEPT * np.log(KEPT)).sum(axis=1).mean()]
    roots = np.sqrt(KEPT) / np.sqrt(KEPT).sum(axis=1, keepdims=True)
    assert mean == pytest.approx([*expected, -(roots * np.log(roots)).sum(axis=1).mean()])
    assert most == [np.log(3)] * 2
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "2"]
    assert drawn(axes.figure)
