import numpy as np
import pandas as pd
import pytest

from kd_lab import names
from kd_lab.analysis.figures.trade_off import accuracy_against, accuracy_against_agreement, front
from kd_lab.errors import UserError
from tests.analysis.made_up import SIZE, drawn, students


def points(axes):
    """Where each sign stands."""
    found = {}
    for dots in axes.collections:
        if dots.get_label() and not dots.get_label().startswith("_"):
            found.setdefault(dots.get_label(), []).extend(map(tuple, np.round(dots.get_offsets(), 6)))
    return found


def two_sizes():
    large = {key: 4 * value for key, value in SIZE.items()}
    small = students({"kd": [0.92, 0.93, 0.94]})
    return pd.concat([small, students({"dist": [0.95, 0.95, 0.95]}, network="mlp 128", size=large)], ignore_index=True)


@pytest.mark.parametrize(
    ("cost", "accuracy", "expected"),
    [
        ([1, 2, 3], [0.9, 0.8, 0.95], [0, 2]),
        ([3, 2, 1], [0.95, 0.8, 0.9], [2, 0]),
        ([1, 1, 1], [0.8, 0.9, 0.9], [1]),
        ([1, 2], [0.9, 0.9], [0]),
    ],
)
def test_front__none_beats_them_in_both(cost, accuracy, expected):
    assert front(np.array(cost, dtype=float), np.array(accuracy)) == expected


def test_accuracy_against__means_of_students_their_networks_alone_and_the_teacher():
    figure = accuracy_against(two_sizes(), names.COST_PARAMS_TOTAL)
    (axes,) = figure.axes
    assert points(axes) == {
        "teacher 3 x cnn": [(10000, 96)],
        "student alone": [(400, 90), (100, 90)],
        "kd": [(100, 93)],
        "dist": [(400, 95)],
    }
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("parameters", "test accuracy (%)")
    assert axes.get_xscale() == "log"
    (line,) = [line for line in axes.lines if line.get_label() == "Pareto front of the means"]
    steps = list(zip(*map(list, line.get_data()), strict=True))
    assert steps[:2] == [(100, 93), (400, 95)]
    assert steps[-1][1] == 96  # to the right the front goes on
    assert drawn(figure)


def test_accuracy_against__bars_are_one_sample_sd():
    axes = accuracy_against(two_sizes()).axes[0]
    heights = [np.ptp(bar.get_segments()[0][:, 1]) for bar in axes.collections if hasattr(bar, "get_segments")]
    assert max(heights) == pytest.approx(2.0)


def test_accuracy_against__latencies_of_one_size_are_pooled():
    """A student cannot be faster than the same network with another loss."""
    table = students({"kd": [0.92, 0.93, 0.94], "dist": [0.95, 0.95, 0.95]})
    table["student.cost/latency_ms_p50"] = [0.02, 0.02, 0.02, 0.05, 0.05, 0.05]
    large = students({"large": [0.95]}, network="mlp 128", size={key: 4 * value for key, value in SIZE.items()})
    table = pd.concat([table, large.assign(baseline_run=None)], ignore_index=True)
    found = points(accuracy_against(table, names.COST_LATENCY_MS_P50).axes[0])
    # Six students at 0.02 and 0.05, and the student alone of three seeds at 0.02.
    assert {x for x, _ in found["kd"] + found["dist"] + found["student alone"]} == {0.03}


def test_accuracy_against__a_panel_for_each_dataset():
    both = pd.concat([two_sizes(), two_sizes().assign(dataset="mnist")])
    figure = accuracy_against(both.reset_index(drop=True))
    assert [axes.get_title() for axes in figure.axes] == ["digits", "mnist"]


def test_accuracy_against__many_arms__twelve_have_their_own_sign():
    table = students({f"loss{n}": [0.9 + n / 1000] * 3 for n in range(15)})
    table.loc[table["arm"] == "loss14", "student.cost/params_total"] = 400
    found = points(accuracy_against(table).axes[0])
    assert len(found["other students"]) == 3
    assert "loss14" in found
    assert "loss2" not in found


def test_accuracy_against_agreement__in_percent_and_the_teachers_accuracy():
    axes = accuracy_against_agreement(students({"kd": [0.92, 0.93, 0.94]})).axes[0]
    assert points(axes) == {"student alone": [(88, 90)], "kd": [(92, 93)]}
    (line,) = [line for line in axes.lines if line.get_label() == "the teacher's accuracy"]
    assert list(line.get_ydata()) == [96, 96]


def test_accuracy_against_agreement__a_baseline_beside_two_teachers__counts_for_each():
    one, other = (students({arm: [0.92, 0.93, 0.94]}) for arm in ("kd", "dkd"))
    other = other.assign(teacher_weights="of another", **{"baseline.test/agreement_top1": 0.84})
    axes = accuracy_against_agreement(pd.concat([one, other], ignore_index=True)).axes[0]
    assert points(axes)["student alone"] == [(86, 90)]


def test_accuracy_against__one_size_beside_its_teacher__nothing_to_trade__user_error():
    table = students({"kd": [0.9, 0.9, 0.9], "dist": [0.91, 0.91, 0.91]})
    for cost in (names.COST_PARAMS_TOTAL, names.COST_LATENCY_MS_P50):
        with pytest.raises(UserError, match=f"do not differ in {cost}"):
            accuracy_against(table, cost)


@pytest.mark.parametrize("agreement", [np.nan, 0.9])
def test_accuracy_against_agreement__one_network_or_none__user_error(agreement):
    table = students({"kd": [0.9, 0.9, 0.9]}, baseline_run=None, **{"student.test/agreement_top1": agreement})
    with pytest.raises(UserError, match="not two networks among these runs that were compared with a teacher"):
        accuracy_against_agreement(table)
