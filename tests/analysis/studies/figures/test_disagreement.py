import numpy as np
import pytest

from kd_lab.analysis.studies.disagreement import OUTCOMES, disputed, shares
from kd_lab.analysis.studies.figures.disagreement import disputed_samples, who_is_right
from kd_lab.errors import UserError
from tests.analysis.made_up import drawn
from tests.analysis.studies.test_disagreement import OWN, TAUGHT, answers, made


def test_who_is_right__means_and_seeds_of_what_is_not_both_right():
    axes = who_is_right(shares(*made()), "kd").axes[0]
    assert [bar.get_height() for bar in axes.patches] == [40, 60, 0, 0, 10, 10, 40, 10]
    assert len(axes.collections) == 4
    assert [label.get_text().replace("\n", " ") for label in axes.get_xticklabels()] == OUTCOMES[1:]
    assert drawn(axes.figure)


def test_disputed_samples__the_one_who_is_right_is_bold():
    found = disputed(answers(TAUGHT, 0.9), [answers(OWN, 0.4)])
    figure = disputed_samples(np.zeros((3, 8, 8)), found)
    told = [[(text.get_text(), text.get_weight()) for text in axes.texts] for axes in figure.axes]
    assert told == [
        [("teacher 0 (90%)", "bold"), ("student 1 (40%)", "normal")],
        [("teacher 1 (90%)", "normal"), ("student 0 (40%)", "bold")],
        [("teacher 1 (90%)", "normal"), ("student 2 (40%)", "normal")],
    ]
    assert drawn(figure)


def test_disputed_samples__none__user_error():
    with pytest.raises(UserError, match="no sample on which most students"):
        disputed_samples(np.zeros((0, 8, 8)), disputed(answers(TAUGHT), [answers(TAUGHT)]))
