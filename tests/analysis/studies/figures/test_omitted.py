import numpy as np
import pandas as pd
import pytest

from kd_lab.analysis.studies.figures.omitted import lookalikes, recall_by_arm, recall_by_bias
from kd_lab.analysis.studies.omitted import bias_for_rate, recall_against_bias
from kd_lab.analysis.studies.softening import probabilities
from tests.analysis.made_up import drawn
from tests.analysis.studies.test_omitted import frame, logits


def test_recall_by_arm__raw_and_corrected_of_each_and_the_teacher():
    rows = [
        ("teacher", "teacher", 0.95, 0.96),
        ("baseline", "student alone", 0.0, 0.4),
        ("student", "kd T=8", 0.1, 0.9),
    ]
    found = pd.DataFrame(rows, columns=["role", "arm", "raw_recall", "recall"])
    axes = recall_by_arm(found, 3).axes[0]
    points = sorted(y for dots in axes.collections for _, y in dots.get_offsets().tolist())
    assert points == pytest.approx([0, 10, 40, 90])
    (teacher,) = [line for line in axes.lines if line.get_label() == "the teacher, as it answers"]
    assert list(teacher.get_ydata()) == [95, 95]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["student alone", "kd T=8"]
    assert drawn(axes.figure)


def test_recall_by_bias__a_curve_and_its_mark_for_each():
    table = frame(*logits())
    axes = recall_by_bias({"alone": table, "kd": table}, 3, [0, 10, 20]).axes[0]
    assert list(axes.lines[1].get_ydata()) == pytest.approx(100 * recall_against_bias(table, 3, [0, 10, 20]))
    chosen = bias_for_rate(probabilities(table), 3, (table["target"] == 3).mean())
    ((x, y),) = axes.collections[1].get_offsets().tolist()
    assert (x, y) == pytest.approx((chosen, 100 * recall_against_bias(table, 3, [chosen])[0]))
    assert drawn(axes.figure)


def test_lookalikes__of_other_classes_the_most_alike_first():
    kept = np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.4, 0.6]])
    table = pd.DataFrame({"target": [0, 1, 0, 0], "probability_0": kept[:, 0], "probability_1": kept[:, 1]})
    figure = lookalikes(np.arange(16).reshape(4, 2, 2), table, 1, 2)
    assert [axes.images[0].get_array()[0, 0] for axes in figure.axes] == [8, 0]
    soft = np.sqrt(0.3) / (np.sqrt(0.3) + np.sqrt(0.7))
    assert figure.axes[0].texts[0].get_text() == f"1 at T=1: 30%\nat T=2: {100 * soft:.2g}%"
    assert drawn(figure)
