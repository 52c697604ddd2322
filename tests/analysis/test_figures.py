import numpy as np
import pytest

from kd_lab.analysis.figures import accuracy_by_role, confusion_matrix, fidelity_and_calibration, reliability
from kd_lab.analysis.runs import pairs, runs
from kd_lab.errors import UserError
from kd_lab.names import TEST_ACCURACY_TOP1


def drawn(figure, tmp_path):
    """Layout problems and missing glyphs show only when a figure is drawn."""
    path = tmp_path / "figure.png"
    figure.savefig(path)
    return path.stat().st_size > 0


def test_confusion_matrix__share_of_the_true_class_and_counts(tmp_path):
    counts = np.array([[3, 1, 0], [0, 0, 0], [2, 0, 6]])
    figure = confusion_matrix(counts, "student")
    axes = figure.axes[0]
    np.testing.assert_allclose(axes.images[0].get_array(), [[0.75, 0.25, 0], [0, 0, 0], [0.25, 0, 0.75]])
    assert sorted(text.get_text() for text in axes.texts) == ["1", "2", "3", "6"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "true class")
    assert drawn(figure, tmp_path)


def test_confusion_matrix__many_classes__no_numbers(tmp_path):
    figure = confusion_matrix(np.eye(100, dtype=np.int64), "many")
    assert list(figure.axes[0].texts) == []
    assert drawn(figure, tmp_path)


def test_reliability__empty_bins__not_drawn(tmp_path):
    empty = float("nan")
    figure = reliability(
        np.array([0, 2, 0, 6]), np.array([empty, 0.4, empty, 0.9]), np.array([empty, 0.5, empty, 1.0]), 0.1, "student"
    )
    upper, lower = figure.axes
    assert [(bar.get_x(), bar.get_height()) for bar in upper.patches] == [(0.25, 0.5), (0.75, 1.0)]
    assert [bar.get_height() for bar in lower.patches] == [0.25, 0.75]
    assert upper.get_title() == "student\nECE 0.100 (4 bins)"
    assert drawn(figure, tmp_path)


def test_accuracy_by_role__one_panel_per_loss_one_line_per_seed(uri, tmp_path):
    figure = accuracy_by_role(pairs(runs("digits", uri)))
    assert [axes.get_title() for axes in figure.axes] == ["digits: mlp, kd", "digits: mlp, soft_label"]
    lines = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 3]
    seeds = sorted(tuple(np.round(line.get_ydata(), 6)) for line in lines)
    assert seeds == [(90, 94, 96), (91, 95.1, 96), (92, 96.2, 96)]
    assert drawn(figure, tmp_path)


def test_accuracy_by_role__nothing_measured__user_error(uri):
    table = pairs(runs("digits", uri))
    with pytest.raises(UserError, match="are the runs finished"):
        accuracy_by_role(table[table["status"] == "FAILED"])


def test_fidelity_and_calibration__baseline_and_each_loss(uri, tmp_path):
    figure = fidelity_and_calibration(runs("digits", uri))
    left, right = figure.axes
    labels = [text.get_text() for text in left.get_legend().get_texts()]
    assert labels == ["baseline", "student: kd", "student: soft_label"]
    kd = left.collections[1].get_offsets()
    np.testing.assert_allclose(sorted(kd[:, 1]), [94, 95.1, 96.2])
    np.testing.assert_allclose(kd[:, 0] - kd[:, 1], 1)
    assert right.get_xticklabels()[0].get_text() == "teacher"
    assert drawn(figure, tmp_path)


def test_fidelity_and_calibration__nothing_measured__user_error(uri):
    frame = runs("digits", uri)
    with pytest.raises(UserError, match="are the runs finished"):
        fidelity_and_calibration(frame[frame[TEST_ACCURACY_TOP1].isna()])
