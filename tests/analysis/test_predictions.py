import tracemalloc
import zipfile

import numpy as np
import pandas as pd
import pytest

from kd_lab import names
from kd_lab.analysis.predictions import bins, predictions, predictions_of
from kd_lab.errors import UserError
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
    with pytest.raises(UserError, match=rf"^run:{run_id}: this run has no artifact predictions\.npz"):
        predictions(run_id, own)


def test_predictions__no_such_run__user_error(own):
    with pytest.raises(UserError, match=r"^run:nothing: there is no such run"):
        predictions("nothing", own)


def test_predictions_of__runs_without__left_out(own, tmp_path):
    kept = keep(own, tmp_path, **COLUMNS)
    assert list(predictions_of([keep(own, tmp_path), kept, "nothing"], own)) == [kept]


def _refused(uri, folder, message, write):
    """What `write` makes of the file is refused, and left out where several are read."""
    file = folder / names.ARTIFACT_PREDICTIONS
    write(file)
    run_id = keep_file(uri, file)
    with pytest.raises(UserError, match=f"^run:{run_id}: " + message):
        predictions(run_id, uri)
    assert predictions_of([run_id], uri) == {}


def test_predictions__a_bomb_is_not_unpacked(own, tmp_path, request):
    zeros = {name: np.zeros(2**22, column.dtype) for name, column in COLUMNS.items()}
    tracemalloc.start()
    request.addfinalizer(tracemalloc.stop)
    _refused(
        own,
        tmp_path,
        r"predictions\.npz: declares 128\.0 MiB in a file of 1\d\d\.\d KiB, expected one that is not compressed; this "
        r"is no file of kd-lab, choose another run\.$",
        lambda file: [np.savez_compressed(file, **zeros), tracemalloc.reset_peak()],
    )
    own_bytes = sum(array.nbytes for array in zeros.values())
    assert tracemalloc.get_traced_memory()[1] < own_bytes + 2**25


def test_predictions__other_members_are_not_read(own, tmp_path):
    file = tmp_path / names.ARTIFACT_PREDICTIONS
    np.savez(file, **COLUMNS, notes=np.array([{"a": 1}], dtype=object), more=np.zeros((3, 3)))
    assert list(predictions(keep_file(own, file), own).columns) == list(COLUMNS)


@pytest.mark.parametrize("content", [b"", b"text", b"\x80\x04K\x01.", b"PK\x03\x04"])
def test_predictions__no_archive(own, tmp_path, content):
    _refused(
        own, tmp_path, r"predictions\.npz: the file is truncated or damaged", lambda file: file.write_bytes(content)
    )


def test_predictions__a_member_that_is_no_array(own, tmp_path):
    def write(file):
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("index.npy", "text")

    _refused(own, tmp_path, r"predictions\.npz: index is not a NumPy array", write)


def test_predictions__python_objects(own, tmp_path):
    objects = COLUMNS | {"index": np.array([{}, {}], dtype=object)}
    _refused(own, tmp_path, r"predictions\.npz: index holds Python objects", lambda file: np.savez(file, **objects))


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("target", np.array([1, 0, 1])),
        ("target", np.array([[1], [0]])),
        ("index", np.array(3)),
        ("predicted", np.array([1.0, 0.0])),
        ("predicted", np.array(["1", "0"])),
        ("confidence", np.array([1, 0])),
        ("confidence", np.array([0.5, 0.5], complex)),
        ("target_probability", np.zeros(2, "M8[s]")),
        ("probabilities", np.zeros(2)),
        ("probabilities", np.zeros((3, 2))),
        ("probabilities", np.zeros((2, 0))),
        ("probabilities", np.zeros((2, 2), int)),
        ("probabilities", np.zeros((2, 2, 2))),
    ],
)
def test_predictions__a_column_of_another_kind(own, tmp_path, name, column):
    listed = f"{name} {column.dtype.name} {list(column.shape)}".replace("[", r"\[").replace("]", r"\]")
    _refused(
        own,
        tmp_path,
        rf"predictions\.npz holds .*{listed}.*, expected index, .* \[N\] and possibly probabilities \[N, K\]",
        lambda file: np.savez(file, **(COLUMNS | {name: column})),
    )


@pytest.mark.parametrize("name", COLUMNS)
def test_predictions__a_column_that_is_not_there(own, tmp_path, name):
    columns = {there: column for there, column in COLUMNS.items() if there != name}
    _refused(own, tmp_path, r"predictions\.npz holds .*, expected index", lambda file: np.savez(file, **columns))


def test_predictions__none_of_the_columns(own, tmp_path):
    _refused(own, tmp_path, r"predictions\.npz holds none of the columns", lambda file: np.savez(file, X=np.zeros(3)))
    empty = {name: column[:0] for name, column in COLUMNS.items()}
    _refused(own, tmp_path, r"predictions\.npz holds index int64 \[0\]", lambda file: np.savez(file, **empty))


def test_predictions__more_classes_than_are_ever_kept(own, tmp_path):
    many = COLUMNS | {"probabilities": np.zeros((2, 500_001), np.float32)}
    _refused(own, tmp_path, r".* at most 1,000,000 probabilities", lambda file: np.savez(file, **many))


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
