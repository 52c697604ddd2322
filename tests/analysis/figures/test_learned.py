import numpy as np
import pandas as pd
import pytest

from kd_lab.analysis.figures.learned import learned_curves
from kd_lab.errors import UserError
from tests.analysis.made_up import drawn


def curves(**values):
    """`weight=[[1, 2], [3, 4]]`: of each run its values at steps 0, 10 ..."""
    rows = [
        (f"run{n}", reading, 10 * i, value)
        for reading, runs in values.items()
        for n, run in enumerate(runs)
        for i, value in enumerate(run)
    ]
    return pd.DataFrame(rows, columns=["run_id", "reading", "step", "value"])


def test_learned_curves__mean_over_seeds_and_one_sample_sd_to_each_side():
    figure = learned_curves(curves(kd_weight=[[1.0, 2.0, 9.0], [3.0, 6.0]]))
    (axes,) = figure.axes
    (line,) = axes.lines
    np.testing.assert_allclose(line.get_xydata(), [[0, 2], [10, 4]])
    corners = {(x, round(y, 6)) for x, y in axes.collections[0].get_paths()[0].vertices}
    assert corners >= {(0, round(2 - 2**0.5, 6)), (0, round(2 + 2**0.5, 6)), (10, round(4 + 8**0.5, 6))}
    assert (axes.get_xlabel(), axes.get_ylabel(), line.get_label()) == ("optimizer step", "weight", "kd_weight")
    assert drawn(figure)


def test_learned_curves__one_run_has_no_band():
    corners = learned_curves(curves(gate=[[1.0, 2.0]])).axes[0].collections[0].get_paths()[0].vertices
    assert {tuple(corner) for corner in corners.tolist()} == {(0, 1), (10, 2)}


def test_learned_curves__a_panel_for_each_kind():
    each = {name: [[1.0, 2.0]] for name in ("kd_weight", "hard_weight", "kd_temperature", "sample_weight_zero_share")}
    figure = learned_curves(curves(**each))
    assert {axes.get_ylabel(): len(axes.lines) for axes in figure.axes} == {"weight": 2, "temperature": 1, "share": 1}
    assert drawn(figure)


def test_learned_curves__of_many_lines_those_that_end_highest_have_names():
    (axes,) = learned_curves(curves(**{f"p{n}_gate": [[1.0, float(n)]] for n in range(12)})).axes
    named = [text.get_text() for text in axes.get_legend().get_texts()]
    assert named == [*(f"p{n}_gate" for n in range(11, 2, -1)), "3 others"]
    assert len(axes.lines) == 12


@pytest.mark.parametrize("values", [{}, {"kd_weight": [[1.0]]}, {"kd_weight": [[float("nan"), 1.0]]}])
def test_learned_curves__fewer_than_two_points(values):
    with pytest.raises(UserError, match="Nothing that these runs learned was logged twice"):
        learned_curves(curves(**values))
