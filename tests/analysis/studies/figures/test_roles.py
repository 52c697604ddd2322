import numpy as np
import pytest

from kd_lab.analysis.runs import pairs, runs
from kd_lab.analysis.studies.figures.roles import accuracy_by_role, fidelity_and_calibration
from kd_lab.errors import UserError
from kd_lab.names import TEST_ACCURACY_TOP1, TEST_ALONE_AGREEMENT_TOP1
from tests.analysis.made_up import drawn


def test_accuracy_by_role__one_panel_per_loss_one_line_per_seed(uri):
    figure = accuracy_by_role(pairs(runs("digits", uri)))
    assert [axes.get_title() for axes in figure.axes] == ["digits: mlp, kd", "digits: mlp, soft_label"]
    lines = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 3]
    seeds = sorted(tuple(np.round(line.get_ydata(), 6)) for line in lines)
    assert seeds == [(90, 94, 96), (91, 95.1, 96), (92, 96.2, 96)]
    assert drawn(figure)


@pytest.mark.slow
def test_fidelity_and_calibration__baseline_and_each_loss(uri):
    figure = fidelity_and_calibration(runs("digits", uri))
    left, right = figure.axes
    labels = [text.get_text() for text in left.get_legend().get_texts()]
    assert labels == ["baseline", "student: kd", "student: soft_label"]
    alone, kd = (left.collections[place].get_offsets() for place in (0, 1))
    np.testing.assert_allclose(sorted(alone[:, 0]), [89, 90, 91])
    np.testing.assert_allclose(alone[:, 1] - alone[:, 0], 1)
    np.testing.assert_allclose(sorted(kd[:, 1]), [94, 95.1, 96.2])
    np.testing.assert_allclose(kd[:, 0] - kd[:, 1], 1)
    assert right.get_xticklabels()[0].get_text() == "teacher"
    assert drawn(figure)


def test_figures__nothing_measured__user_error(uri):
    frame = runs("digits", uri)
    table = pairs(frame)
    with pytest.raises(UserError, match="are the runs finished"):
        accuracy_by_role(table[table["status"] == "FAILED"])
    with pytest.raises(UserError, match="are the runs finished"):
        fidelity_and_calibration(frame[frame[TEST_ACCURACY_TOP1].isna()])


def test_fidelity_and_calibration__a_loss_of_others__is_no_mathematics(uri):
    frame = runs("digits", uri)
    figure = fidelity_and_calibration(frame.assign(loss=frame["loss"].replace({"kd": "$x^{$"})))
    assert drawn(figure)
    assert r"student: \$x^{\$" in [text.get_text() for text in figure.axes[0].get_legend().get_texts()]


def test_fidelity_and_calibration__nobody_knows_how_far_the_baseline_agrees__no_empty_label(uri):
    figure = fidelity_and_calibration(runs("digits", uri).drop(columns=TEST_ALONE_AGREEMENT_TOP1))
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert labels == ["student: kd", "student: soft_label"]
    assert drawn(figure)
