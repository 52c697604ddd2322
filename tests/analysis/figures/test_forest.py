import numpy as np
import pytest

from kd_lab import names
from kd_lab.analysis.figures.forest import forest
from kd_lab.errors import UserError
from tests.analysis.made_up import arms, difference, drawn

TABLE = arms(
    dist=difference("to_baseline", 0.03, (0.02, 0.04), 0.0002, "better 5/5"),
    kd=difference("to_baseline", 0.001, (-0.01, 0.012), 0.8, "not distinguishable 3/5"),
    mse=difference("to_baseline", -0.02, (-0.03, -0.01), 0.01, "worse 0/5"),
)


def signs(axes):
    return [line for line in axes.lines if line.get_marker() not in ("None", "")]


def bars(axes):
    return [list(line.get_xdata()) for line in axes.lines if line.get_linewidth() == 2]


def labels(axes):
    return [text.get_text() for text in axes.get_yticklabels()]


def test_forest__means_and_intervals_in_points__the_best_at_the_top__verdicts_in_words_and_in_signs():
    axes = forest(TABLE).axes[0]
    assert labels(axes) == ["mse", "kd", "dist"]
    means = [(line.get_xdata()[0], line.get_ydata()[0]) for line in signs(axes)]
    np.testing.assert_allclose(means, [(-2, 1), (0.1, 3), (3, 5)], atol=1e-9)
    np.testing.assert_allclose(bars(axes), [[-3, -1], [-1, 1.2], [2, 4]])
    assert axes.get_xlabel() == "test accuracy: difference to the student alone (points)"
    assert [line.get_fillstyle() for line in signs(axes)] == ["full", "none", "full"]
    assert len({line.get_marker() for line in signs(axes)}) == 3
    verdicts = ["worse\np 0.010, 0/5", "not distinguishable\np 0.800, 3/5", "better\np < 0.001, 5/5"]
    assert labels(axes.child_axes[0]) == verdicts
    assert drawn(axes.figure)


def test_forest__less_is_better__the_lowest_at_the_top():
    axes = forest(TABLE, metric=names.TEST_NLL_NATS).axes[0]
    assert labels(axes) == ["dist", "kd", "mse"]
    assert axes.get_xlabel() == "test/nll_nats: difference to the student alone"
    assert signs(axes)[0].get_xdata()[0] == 0.03


def test_forest__one_pair__a_sign_without_an_interval():
    one = difference("to_kd", 0.01, (np.nan, np.nan), np.nan, "not tested 1/1")
    axes = forest(arms(kd=one), "kd", reference="dkd").axes[0]
    assert bars(axes) == []
    assert labels(axes.child_axes[0]) == ["not tested\nno test, 1/1"]
    assert axes.get_xlabel() == "test accuracy: difference to dkd (points)"


def test_forest__a_long_name_has_the_height_of_its_lines():
    axes = forest(TABLE.assign(arm=["a", "a name that goes on " * 4, "c"])).axes[0]
    assert [line.get_ydata()[0] for line in signs(axes)] == [1, 3.5, 6]


def test_forest__more_arms_than_a_page_holds__the_best_and_it_says_so():
    table = arms(**{f"l{n}": difference("to_kd", n / 1000, (0, 1), 0.5, "better 1/1") for n in range(70)})
    axes = forest(table, "kd").axes[0]
    assert labels(axes)[::59] == ["l10", "l69"]
    assert axes.get_title() == "the best 60 of 70 arms"


def test_forest__nothing_to_compare_with__user_error():
    with pytest.raises(UserError, match="No arm can be compared with plain kd"):
        forest(TABLE, "kd")
