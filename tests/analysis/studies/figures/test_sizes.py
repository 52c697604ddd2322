import pytest

from kd_lab.analysis.studies.figures.sizes import gain_by_size
from tests.analysis.made_up import drawn
from tests.analysis.studies.test_sizes import sizes


def test_gain_by_size__alone_distilled_and_the_teacher():
    figure = gain_by_size(sizes())
    left, right = figure.axes
    curves = {bars.get_label(): list(bars[0].get_ydata()) for bars in left.containers}
    assert curves == {"student alone": pytest.approx([90, 90]), "kd": pytest.approx([93, 88])}
    (teacher,) = [line for line in left.lines if line.get_label() == "the teacher's accuracy"]
    assert list(teacher.get_ydata()) == [96, 96]
    assert list(right.lines[0].get_ydata()) == pytest.approx([3, -2])
    assert list(right.lines[0].get_xdata()) == [100, 400]
    assert (left.get_xlabel(), left.get_xscale()) == ("parameters", "log")
    assert drawn(figure)


def test_gain_by_size__one_seed_without_a_teacher__no_intervals_and_no_line():
    table = sizes().assign(teacher_run=None, **{"teacher.test/accuracy_top1": float("nan")})
    figure = gain_by_size(table[table["seed"] == 0])
    assert len(figure.legends[0].get_texts()) == 2
    assert drawn(figure)
