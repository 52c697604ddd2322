import numpy as np
import pandas as pd
import pytest

from kd_lab.analysis.figures.heat_map import temperature_and_weight
from kd_lab.errors import UserError
from tests.analysis.made_up import drawn, students

T, W = "params.loss.temperature", "params.loss.weight"


def grid(temperatures=("1", "4"), weights=("0.5", "1")):
    parts = [
        students({f"kd T={t} weight={w}": [0.9 + 0.01 * i + 0.002 * j, 0.9 + 0.01 * i - 0.002 * j]}, **{T: t, W: w})
        for i, t in enumerate(temperatures)
        for j, w in enumerate(weights)
    ]
    return pd.concat(parts, ignore_index=True)


def test_temperature_and_weight__mean_spread_and_gain_in_each_cell():
    figure = temperature_and_weight(grid())
    axes, bar = figure.axes
    np.testing.assert_allclose(axes.images[0].get_array(), [[90, 91], [90, 91]])
    assert [text.get_text() for text in axes.get_xticklabels()] == ["1", "4"]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["0.5", "1"]
    told = {text.get_position(): text.get_text() for text in axes.texts}
    assert told[0, 0] == "90.00 ± 0.00\n(+0.00)"
    assert told[1, 1] == "91.00 ± 0.28\n(+1.00)"
    assert axes.get_title() == "digits: mlp 32, kd"
    assert bar.get_ylabel() == "mean test accuracy (%)"
    assert drawn(figure)


def test_temperature_and_weight__set_by_term_unless_the_short_key_is():
    of_term = {T: "params.loss.terms.kd.temperature", W: "params.loss.terms.kd.weight"}
    for table in (grid().assign(**{of_term[T]: "9"}), grid().rename(columns=of_term).assign(**{T: "null"})):
        axes = temperature_and_weight(table).axes[0]
        np.testing.assert_allclose(axes.images[0].get_array(), [[90, 91], [90, 91]])
        assert [text.get_text() for text in axes.get_xticklabels()] == ["1", "4"]


def test_temperature_and_weight__a_cell_without_a_run__stays_empty():
    table = grid()
    axes = temperature_and_weight(table[table["arm"] != "kd T=4 weight=1"]).axes[0]
    assert np.isnan(np.ma.filled(axes.images[0].get_array(), np.nan)[1, 1])
    assert len(axes.texts) == 3


@pytest.mark.parametrize(
    "table",
    [
        grid(weights=("1",)),
        grid(temperatures=("1",)),
        students({"kd": [0.9, 0.9]}),
        pd.concat([grid(), grid().assign(arm="kd T=1 weight=0.5 lr=1").iloc[:1]]),  # another setting differs too
    ],
)
def test_temperature_and_weight__not_both_swept_alone__user_error(table):
    with pytest.raises(UserError, match="several temperatures and several weights"):
        temperature_and_weight(table)
