import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kd_lab import names
from kd_lab.analysis.predictions import bins, predictions, predictions_of
from kd_lab.errors import UserError
from kd_lab.outside.nodes import TRUST
from kd_lab.store.store import Store
from tests.analysis.made_up import copied

COLUMNS = {
    "index": np.array([5, 2]),
    "target": np.array([1, 0], dtype=np.int32),
    "predicted": np.array([1, 1], dtype=np.int32),
    "confidence": np.array([0.75, 0.5]),
    "target_probability": np.array([0.75, 0.5]),
}


def keep(uri, folder, **columns):
    """A finished run with these predictions, none where there are no columns; zeros where a case needs no numbers."""
    if not columns:
        return keep_file(uri, None)
    more = {name: np.zeros(len(columns["index"])) for name in ("confidence", "target_probability")}
    np.savez(folder / names.ARTIFACT_PREDICTIONS, **(more | columns))
    return keep_file(uri, folder / names.ARTIFACT_PREDICTIONS)


def keep_file(uri, file):
    """A finished run with this file as its predictions."""
    with Store.open(uri, "kept").start_run(
        role="student", name="s", params={}, tags={}, config_yaml="{}\n", parent=None
    ) as run:
        if file is not None:
            run.log_file(file, names.ARTIFACT_PREDICTIONS)
    return run.run_id


@pytest.fixture(scope="module")
def own(uri, tmp_path_factory):
    return copied(uri, tmp_path_factory.mktemp("own"))


@pytest.fixture
def file(tmp_path):
    return tmp_path / names.ARTIFACT_PREDICTIONS


@pytest.mark.slow
def test_predictions__one_row_per_sample_and_a_column_per_class_where_they_were_kept(own, tmp_path):
    probabilities = np.array([[0.25, 0.75], [0.5, 0.5]], dtype=np.float32)
    frame = predictions(keep(own, tmp_path, **COLUMNS, probabilities=probabilities), own)
    assert list(frame.columns) == [*COLUMNS, "probability_0", "probability_1"]
    assert frame["index"].tolist() == [5, 2]
    assert frame["probability_1"].tolist() == [0.75, 0.5]
    assert list(predictions(keep(own, tmp_path, **COLUMNS), own).columns) == list(COLUMNS)


def test_predictions__no_run_or_a_run_without__user_error_or_left_out(own, tmp_path):
    kept, without = keep(own, tmp_path, **COLUMNS), keep(own, tmp_path)
    with pytest.raises(UserError, match=rf"^run:{without}: this run has no artifact predictions\.npz"):
        predictions(without, own)
    with pytest.raises(UserError, match=r"^run:nothing: there is no such run"):
        predictions("nothing", own)
    assert list(predictions_of([without, kept, "nothing"], own)) == [kept]


def test_predictions_of__artifacts_where_the_store_may_not_name_a_folder__told_once_unless_trusted(
    own, tmp_path, monkeypatch, caplog
):
    runs = [keep(own, tmp_path, **COLUMNS) for _ in range(2)]
    (tmp_path / "other").mkdir()
    moved = copied(own, tmp_path / "other")
    assert predictions_of(runs, moved) == {}
    (told,) = caplog.messages
    assert told.startswith(
        f"Without the predictions of 2 runs: tracking.uri={moved}: the store says that artifacts of its runs lie in "
    )
    monkeypatch.setenv(TRUST, str(Path(own.removeprefix("sqlite:///")).parent))
    assert list(predictions_of(runs, moved)) == runs


def refused(uri, file, message):
    """What is in the file is refused, and left out where several are read."""
    run_id = keep_file(uri, file)
    with pytest.raises(UserError, match=f"^run:{run_id}: " + message):
        predictions(run_id, uri)
    assert predictions_of([run_id], uri) == {}


def test_predictions__a_bomb_is_not_unpacked(own, file, request):
    zeros = {name: np.zeros(2**22, column.dtype) for name, column in COLUMNS.items()}
    np.savez_compressed(file, **zeros)
    tracemalloc.start()
    request.addfinalizer(tracemalloc.stop)
    refused(
        own,
        file,
        r"predictions\.npz: declares 134 MB in a file of 1\d\d KB, expected one that is not compressed; this "
        r"is no file of kd-lab, choose another run\.$",
    )
    assert tracemalloc.get_traced_memory()[1] < 2**25


def test_predictions__other_members_are_not_read(own, file):
    np.savez(file, **COLUMNS, notes=np.array([{"a": 1}], dtype=object), more=np.zeros((3, 3)))
    assert list(predictions(keep_file(own, file), own).columns) == list(COLUMNS)


@pytest.mark.parametrize("content", [b"", b"text", b"\x80\x04K\x01.", b"PK\x03\x04"])
def test_predictions__no_archive(own, file, content):
    file.write_bytes(content)
    refused(own, file, r"predictions\.npz: the file is truncated or damaged")


def test_predictions__a_member_that_is_no_array(own, file):
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("index.npy", "text")
    refused(own, file, r"predictions\.npz: index is not a NumPy array")


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ({"index": np.array([{}, {}], dtype=object)}, r": index holds Python objects"),
        ({"target": np.array([1, 0, 1])}, r" holds .*target int64 \[3\]"),
        ({"target": np.array([[1], [0]])}, r" holds .*target int64 \[2, 1\]"),
        ({"index": np.array(3)}, r" holds .*index int64 \[\]"),
        ({"predicted": np.array([1.0, 0.0])}, r" holds .*predicted float64 \[2\]"),
        ({"predicted": np.array(["1", "0"])}, r" holds .*predicted str32 \[2\]"),
        ({"confidence": np.array([1, 0])}, r" holds .*confidence int64 \[2\]"),
        ({"confidence": np.array([0.5, 0.5], complex)}, r" holds .*confidence complex128 \[2\]"),
        ({"target_probability": np.zeros(2, "M8[s]")}, r" holds .*target_probability datetime64\[s\] \[2\]"),
        ({"probabilities": np.zeros(2)}, r" holds .*probabilities float64 \[2\]"),
        ({"probabilities": np.zeros((3, 2))}, r" holds .*probabilities float64 \[3, 2\]"),
        ({"probabilities": np.zeros((2, 0))}, r" holds .*probabilities float64 \[2, 0\]"),
        ({"probabilities": np.zeros((2, 2), int)}, r" holds .*probabilities int64 \[2, 2\]"),
        ({"probabilities": np.zeros((2, 2, 2))}, r" holds .*probabilities float64 \[2, 2, 2\]"),
        ({"probabilities": np.zeros((2, 500_001), np.float32)}, r" holds .* at most 1,000,000 probabilities"),
        (dict.fromkeys(COLUMNS, np.zeros(0, int)), r" holds index int64 \[0\].*, expected index, .* \[N\] and poss"),
    ],
)
def test_predictions__a_column_of_another_kind(own, file, column, message):
    np.savez(file, **(COLUMNS | column))
    refused(own, file, rf"predictions\.npz{message}")


@pytest.mark.parametrize("name", [*COLUMNS, "all"])
def test_predictions__a_column_that_is_not_there(own, file, name):
    np.savez(file, X=np.zeros(3), **{there: column for there, column in COLUMNS.items() if name not in (there, "all")})
    refused(own, file, rf"predictions\.npz holds {'none of the columns' if name == 'all' else '.*'}, expected index")


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
