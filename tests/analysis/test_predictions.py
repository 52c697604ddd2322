import numpy as np
import pandas as pd
import pytest

from kd_lab import names
from kd_lab.analysis.predictions import bins, predictions, predictions_of
from kd_lab.errors import UserError
from kd_lab.tracking.store import Store
from tests.analysis.made_up import copied

COLUMNS = {
    "index": np.array([5, 2]),
    "target": np.array([1, 0], dtype=np.int32),
    "predicted": np.array([1, 1], dtype=np.int32),
    "confidence": np.array([0.75, 0.5]),
    "target_probability": np.array([0.75, 0.5]),
}


def keep(uri, folder, **columns):
    """A finished run with these predictions, none where there are no columns."""
    with Store.open(uri, "kept").start_run(
        role="student", name="s", params={}, tags={}, config_yaml="{}\n", parent=None
    ) as run:
        if columns:
            np.savez(folder / names.ARTIFACT_PREDICTIONS, **columns)
            run.log_file(folder / names.ARTIFACT_PREDICTIONS, names.ARTIFACT_PREDICTIONS)
    return run.run_id


@pytest.fixture(scope="module")
def own(uri, tmp_path_factory):
    return copied(uri, tmp_path_factory.mktemp("own"))


def test_predictions__one_row_per_sample_and_a_column_per_class(own, tmp_path):
    probabilities = np.array([[0.25, 0.75], [0.5, 0.5]], dtype=np.float32)
    frame = predictions(keep(own, tmp_path, **COLUMNS, probabilities=probabilities), own)
    assert list(frame.columns) == [*COLUMNS, "probability_0", "probability_1"]
    assert frame["index"].tolist() == [5, 2]
    assert frame["probability_1"].tolist() == [0.75, 0.5]


def test_predictions__probabilities_not_kept__the_other_columns(own, tmp_path):
    assert list(predictions(keep(own, tmp_path, **COLUMNS), own).columns) == list(COLUMNS)


def test_predictions__run_without__user_error(own, tmp_path):
    run_id = keep(own, tmp_path)
    with pytest.raises(UserError, match=rf"^run:{run_id}: this run kept no predictions \(predictions\.npz\)"):
        predictions(run_id, own)


def test_predictions__no_such_run__user_error(own):
    with pytest.raises(UserError, match=r"^run:nothing: there is no such run"):
        predictions("nothing", own)


def test_predictions_of__runs_without__left_out(own, tmp_path):
    kept = keep(own, tmp_path, **COLUMNS)
    assert list(predictions_of([keep(own, tmp_path), kept, "nothing"], own)) == [kept]


def test_bins__closed_on_the_right_empty_ones_zero():
    frame = pd.DataFrame({"target": [0, 0, 0, 0], "predicted": [0, 1, 0, 0], "confidence": [0.2, 0.4, 0.6, 1.0]})
    found = bins(frame, num_bins=5)
    assert found.counts.tolist() == [1, 1, 1, 0, 1]
    assert found.confidence.tolist() == [0.2, 0.4, 0.6, 0, 1]
    assert found.accuracy.tolist() == [1, 0, 1, 0, 1]
    assert found.ece == pytest.approx((0.8 + 0.4 + 0.4 + 0) / 4)


def test_bins__as_the_logged_ece_counts():
    """The measure on tensors and this one are written independently."""
    torch = pytest.importorskip("torch")
    from kd_lab.measures.per_sample import per_sample
    from kd_lab.measures.predictive import reliability_bins

    logits = torch.randn(500, 10, generator=torch.Generator().manual_seed(0)) * 3
    targets = torch.randint(10, (500,), generator=torch.Generator().manual_seed(1))
    columns = per_sample(logits, targets, torch.arange(500))
    del columns["probabilities"]
    found, expected = bins(pd.DataFrame(columns)), reliability_bins(logits, targets)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-12)
    assert found.ece == pytest.approx(expected.ece, abs=1e-12)
