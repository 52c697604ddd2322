import numpy as np
import pandas as pd
import pytest

from kd_lab import names
from kd_lab.analysis.figures.learning import learning_curves, shown_students
from kd_lab.errors import UserError
from tests.analysis.made_up import drawn, students


def history(**values):
    rows = [(run.replace("_", " "), 10 * i, v) for run, found in values.items() for i, v in enumerate(found)]
    return pd.DataFrame(rows, columns=["run_id", "step", "value"])


def test_learning_curves__mean_over_seeds_and_range_in_percent():
    curves = history(**{"mlp 32 kd 0": [0.5, 0.7], "mlp 32 kd 1": [0.6, 0.9]})
    figure = learning_curves(curves, students({"kd": [0.9, 0.9]}))
    (axes,) = figure.axes
    (line,) = axes.lines
    np.testing.assert_allclose(line.get_xydata(), [[0, 55], [10, 80]])
    corners = axes.collections[0].get_paths()[0].vertices
    assert {(x, round(y, 6)) for x, y in corners} >= {(0, 50), (0, 60), (10, 70), (10, 90)}
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("optimizer step", "validation accuracy (%)")
    assert drawn(figure)


def test_learning_curves__a_step_that_not_every_seed_reached__left_out():
    curves = history(**{"mlp 32 kd 0": [0.5, 0.7, 0.9], "mlp 32 kd 1": [0.6, 0.9]})
    (line,) = learning_curves(curves, students({"kd": [0.9, 0.9]})).axes[0].lines
    assert list(line.get_xdata()) == [0, 10]


@pytest.mark.parametrize(
    ("key", "labels", "heading"),
    [
        (names.VAL_ACCURACY_TOP1, ["kd", "student alone"], "validation accuracy (%)"),
        (names.TRAIN_LOSS_TOTAL, ["kd"], "training loss, all terms"),  # the baseline's is a sum of other terms
    ],
)
def test_learning_curves__the_student_alone_beside_them(key, labels, heading):
    curves = history(**{"mlp 32 kd 0": [1.0, 0.5], "mlp 32 alone 0": [2.0, 1.0]})
    axes = learning_curves(curves, students({"kd": [0.9]}), key).axes[0]
    assert [line.get_label() for line in axes.lines] == labels
    assert axes.get_ylabel() == heading


def test_shown_students__six_most_accurate():
    table = students({f"loss{n}": [0.9 + n / 100] for n in range(8)})
    assert set(shown_students(table)["arm"]) == {f"loss{n}" for n in range(2, 8)}


def test_learning_curves__no_points__user_error():
    for curves in (history(other=[1.0, 2.0]), history(**{"mlp 32 kd 0": [1.0]})):
        with pytest.raises(UserError, match="has logged val/accuracy_top1 twice"):
            learning_curves(curves, students({"kd": [0.9]}))
