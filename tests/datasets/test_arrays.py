import io
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
import torch

from kd_lab.augment.shift import Shift
from kd_lab.datasets.arrays import Arrays
from kd_lab.datasets.common.scaled import Scaled
from kd_lab.errors import UserError
from kd_lab.outside import archives
from kd_lab.types import UNLABELLED


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def _points(count: int = 60, classes: int = 3, shape: tuple[int, ...] = (4,)) -> dict[str, Any]:
    inputs = np.random.default_rng(0).normal(size=(count, *shape))
    return {"X": inputs, "y": np.arange(count) % classes}


def _save(**arrays: Any) -> str:
    np.savez("my.npz", **arrays)
    return "my.npz"


def _refused(message: str, **settings: Any) -> None:
    """`load` refuses with that message, which starts with the key."""
    with pytest.raises(UserError, match="^" + message):
        Arrays(**({"path": "my.npz"} | settings)).load()


# What it reads.


def test_arrays__cuts_a_fifth_for_the_test_and_nothing_for_validation() -> None:
    points = _points()
    data = Arrays(path=_save(**points)).load()
    assert (len(data.test), len(data.validation), len(data.train)) == (12, 0, 48)
    assert torch.equal(data.train, data.transfer)
    assert torch.bincount(data.targets[data.test]).tolist() == [4, 4, 4]
    assert np.array_equal(data.source.inputs.numpy(), points["X"].astype(np.float32))
    assert np.array_equal(data.targets.numpy(), points["y"])
    assert (data.num_classes, data.input_shape) == (3, (4,))


@pytest.mark.parametrize("shape", [(4,), (5, 4), (1, 8, 8), (2, 3, 4, 5)])
def test_arrays__any_shape(shape: tuple[int, ...]) -> None:
    assert Arrays(path=_save(**_points(shape=shape))).load().input_shape == shape


@pytest.mark.parametrize("kind", ["bool", "int8", "uint16", "int64", "float16", ">f4", "float64"])
def test_arrays__other_kinds_than_uint8_keep_their_values(kind: str) -> None:
    inputs = (np.arange(240).reshape(60, 4) % 2).astype(kind)
    data = Arrays(path=_save(X=inputs, y=np.arange(60) % 3)).load()
    assert data.source.inputs.dtype == torch.float32
    assert np.array_equal(data.source.inputs.numpy(), inputs.astype(np.float32))


def test_arrays__uint8_is_scaled() -> None:
    inputs = np.arange(240, dtype=np.uint8).reshape(60, 4) + np.uint8(15)
    data = Arrays(path=_save(X=inputs, y=np.arange(60) % 3)).load()
    given = data.rows(torch.arange(60)).batch(0, 60, "cpu")
    np.testing.assert_allclose(given.numpy(), inputs / 255.0, rtol=1e-6)
    assert data.source.inputs.dtype == torch.uint8


def test_arrays__npy_with_targets() -> None:
    points = _points()
    np.save("X.npy", points["X"])
    np.save("labels.npy", points["y"])
    data = Arrays(path="X.npy", targets="labels.npy").load()
    assert data.targets.tolist() == points["y"].tolist()


def test_arrays__own_test_part_and_unlabelled_points() -> None:
    points = _points(30)
    test = {"X_test": np.full((6, 4), 7.0), "y_test": np.arange(6) % 3}
    data = Arrays(path=_save(**points, **test, X_unlabelled=np.full((9, 4), 8.0)), validation=6).load()
    assert torch.equal(data.source.inputs[data.test], torch.full((6, 4), 7.0))
    assert data.targets[data.test].tolist() == [0, 1, 2, 0, 1, 2]
    assert (len(data.train), len(data.validation), len(data.transfer)) == (24, 6, 33)
    unlabelled = [row for row in data.transfer.tolist() if row not in data.train.tolist()]
    assert torch.equal(data.source.inputs[unlabelled], torch.full((9, 4), 8.0))
    assert set(data.targets[unlabelled].tolist()) == {UNLABELLED}


def test_arrays__own_validation_part() -> None:
    points = _points(30)
    validation = {"X_val": np.full((6, 4), 5.0), "y_val": np.arange(6) % 3}
    test = {"X_test": np.full((3, 4), 7.0), "y_test": np.arange(3)}
    data = Arrays(path=_save(**points, **validation, **test, X_unlabelled=np.full((9, 4), 8.0))).load()
    assert torch.equal(data.source.inputs[data.validation], torch.full((6, 4), 5.0))
    assert data.targets[data.validation].tolist() == [0, 1, 2, 0, 1, 2]
    assert torch.equal(data.source.inputs[data.test], torch.full((3, 4), 7.0))
    assert (len(data.train), len(data.transfer)) == (30, 39)
    alone = Arrays(path=_save(**points, **validation)).load()
    assert (len(alone.train), len(alone.validation), len(alone.test)) == (24, 6, 6)


def test_arrays__own_validation_part_and_one_to_cut() -> None:
    _save(**_points(), X_val=np.zeros((3, 4)), y_val=np.arange(3))
    _refused("dataset.validation=6: my.npz holds X_val already, leave it away", validation=6)
    _save(**_points(), X_val=np.zeros((3, 4)))
    _refused("dataset.path=my.npz: it holds X_val but no y_val, add it or take X_val away")


def test_arrays__a_part_by_another_name() -> None:
    _save(**_points(), X_valid=np.zeros((3, 4)), y_valid=np.arange(3), names=np.arange(3))
    _refused("dataset.path=my.npz: X_valid is no part of a dataset; .*X_val")


def test_arrays__standardize__is_what_a_raw_sample_needs() -> None:
    points = _points(60)
    points["X"] = points["X"] * [1, 10, 100, 0] + 5
    data = Arrays(path=_save(**points), standardize=True).load()
    assert data.prepare is None
    made = data.from_raw(torch.tensor(points["X"]))
    assert torch.equal(made, data.source.inputs)
    whole = Scaled(**{name: value for name, value in data.from_raw.node.items() if name != "_target_"})
    assert torch.equal(whole(torch.tensor(points["X"])), made)


@pytest.mark.parametrize("marked", ["minus one", "nan"])
def test_arrays__points_without_a_label_are_for_transfer_only(marked: str) -> None:
    points = _points(60)
    missing = np.arange(60) % 4 == 0
    labels = np.where(missing, -1, points["y"])
    labels = np.where(missing, np.nan, labels) if marked == "nan" else labels
    data = Arrays(path=_save(X=points["X"], y=labels), labels=9, validation=0.1).load()
    rows = set(np.flatnonzero(missing).tolist())
    assert rows <= set(data.transfer.tolist())
    for part in (data.train, data.validation, data.test):
        assert len(part)
        assert not rows & set(part.tolist())
        assert int(data.targets[part].min()) >= 0
    assert (len(data.train), len(data.test), len(data.validation)) == (9, 9, 4)
    assert len(data.transfer) == 60 - 9 - 4


def test_arrays__standardize_measures_what_a_student_may_see() -> None:
    points = _points(200)
    points["X"] = points["X"] * [1, 10, 100, 0] + 5
    data = Arrays(path=_save(**points), standardize=True).load()
    seen = data.source.inputs[data.transfer]
    torch.testing.assert_close(seen.mean(0), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(seen.std(0, correction=0), torch.tensor([1.0, 1, 1, 0]), atol=1e-5, rtol=0)
    assert abs(float(data.source.inputs[data.test].mean(0)[1])) > 1e-3


def test_arrays__standardize_images_per_channel() -> None:
    points = _points(60, shape=(2, 3, 3))
    points["X"] *= np.array([3.0, 50.0])[:, None, None]
    data = Arrays(path=_save(**points), standardize=True).load()
    seen = data.source.inputs[data.transfer]
    torch.testing.assert_close(seen.std((0, 2, 3), correction=0), torch.ones(2), atol=1e-5, rtol=0)
    assert float(seen.std(0, correction=0)[0, 0, 0]) != pytest.approx(1, abs=1e-4)


def test_arrays__numbers_of_points_instead_of_fractions() -> None:
    data = Arrays(path=_save(**_points()), validation=6, test=10, labels=12).load()
    assert (len(data.test), len(data.validation), len(data.train), len(data.transfer)) == (10, 6, 12, 44)


def test_arrays__seed_fixes_the_parts() -> None:
    path = _save(**_points())
    prints = [Arrays(path=path, seed=seed).load().fingerprint for seed in (0, 0, 1)]
    assert prints[0] == prints[1] != prints[2]


def test_arrays__other_arrays_of_the_file_are_never_read() -> None:
    Arrays(path=_save(**_points(), notes=np.array([{"a": 1}], dtype=object))).load()


# Wrong settings.


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"test": 0.0}, r"Expected `test` to be > 0, but got 0.0\."),
        ({"test": 1.0}, r"Expected `test` to be a fraction from 0 to below 1 or a whole number, but got 1.0\."),
        ({"test": -3}, r"Expected `test` to be >= 0, but got -3\."),
        ({"validation": 1.5}, r"Expected `validation` to be a fraction from 0 to below 1 .* but got 1.5\."),
        ({"path": ""}, r"Expected `path` to name an .npz or .npy file, but got an empty string\."),
    ],
)
def test_arrays__constructor(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Arrays(**({"path": "my.npz"} | settings))


def test_arrays__labels_more_than_exist() -> None:
    _save(**_points())
    _refused("dataset.labels=49: only 48 labelled training points are there, choose fewer", labels=49)


def test_arrays__labels_fewer_than_classes() -> None:
    _save(**_points())
    _refused("dataset.labels=2: fewer than the 3 classes", labels=2)


def test_arrays__validation_larger_than_the_pool() -> None:
    _save(**_points())
    _refused("dataset.validation=48: there are only 48 labelled training points to cut it from", validation=48)


def test_arrays__test_larger_than_the_pool() -> None:
    _save(**_points())
    _refused("dataset.test=60: there are only 60 labelled points to cut it from, choose fewer", test=60)


def test_arrays__test_that_leaves_a_class_without_an_example() -> None:
    _save(**_points(6))
    _refused("dataset.test=5: 6 labelled points cannot be cut into 1 and 5 with every class", test=5, validation=0)


def test_arrays__augment_that_does_not_fit() -> None:
    _save(**_points())
    _refused(r"dataset.augment=Shift: Expected images \[B, C, H, W\]", augment=Shift(1))


# Wrong files.


def test_arrays__missing_file() -> None:
    _refused(r"dataset.path=my.npz: cannot read the file \(No such file or directory\), check the path")


def test_arrays__folder_instead_of_a_file() -> None:
    Path("my.npz").mkdir()
    _refused(r"dataset.path=my.npz: cannot read the file \(Is a directory\)")


def test_arrays__empty_file() -> None:
    Path("my.npz").write_bytes(b"")
    _refused("dataset.path=my.npz: the file is empty")


@pytest.mark.parametrize("content", [b"a,b,c\n1,2,3\n", b"\x80\x04K\x01.", b"\x00"])
def test_arrays__neither_npz_nor_npy(content: bytes) -> None:
    Path("my.npz").write_bytes(content)
    _refused("dataset.path=my.npz: not an .npz or .npy file, make one with numpy.savez")


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.95])
def test_arrays__truncated_npz(keep: float) -> None:
    whole = Path(_save(**_points())).read_bytes()
    Path("my.npz").write_bytes(whole[: int(keep * len(whole))])
    _refused(r"dataset.path=my.npz: the file is truncated or damaged \(.*\), save it again")


def test_arrays__damaged_inside() -> None:
    whole = bytearray(Path(_save(**_points())).read_bytes())
    whole[400:410] = bytes(value ^ 255 for value in whole[400:410])
    Path("my.npz").write_bytes(whole)
    _refused("dataset.path=my.npz: X is truncated or damaged")


@pytest.mark.parametrize("keep", [7, 40, 1000])
def test_arrays__truncated_npy(keep: int) -> None:
    np.save("X.npy", _points()["X"])
    whole = Path("X.npy").read_bytes()
    Path("my.npz").write_bytes(whole[:keep])
    _refused("dataset.path=my.npz: X is truncated or damaged")


def test_arrays__a_zip_without_arrays() -> None:
    with zipfile.ZipFile("my.npz", "w") as archive:
        archive.writestr("X", "text")
    _refused("dataset.path=my.npz: X is not a NumPy array")


def test_arrays__python_objects_are_never_loaded() -> None:
    ran = Path("ran")

    class Bad:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (ran.absolute(),))

    _save(X=np.array([[Bad()]], dtype=object), y=np.zeros(1, int))
    _refused("dataset.path=my.npz: X holds Python objects, which are never loaded")
    assert not ran.exists()


def test_arrays__a_bomb_is_refused_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez_compressed("my.npz", X=np.zeros((8, 2**20), np.uint8), y=np.zeros(8, int))
    monkeypatch.setattr(archives, "LARGE_BYTES", 2**20)
    monkeypatch.setattr(zipfile.ZipFile, "open", _never)
    _refused(
        r"dataset.path=my.npz: declares 8\.\d+ MB in a file of 8\.\d+ KB, expected at most 100 times its size; if it "
        r"is yours, save it uncompressed, with numpy\.savez\."
    )


def _never(*_: Any, **__: Any) -> Any:
    raise AssertionError("a member was opened")


@pytest.mark.parametrize("inside", ["npz", "npy"])
def test_arrays__header_of_more_than_is_there(inside: str) -> None:
    whole = _header((10**9, 8)) + bytes(80)
    if inside == "npz":
        with zipfile.ZipFile("my.npz", "w") as archive:
            archive.writestr("X.npy", whole)
    else:
        Path("my.npz").write_bytes(whole)
    _refused(r"dataset.path=my.npz: X is truncated or damaged \(its header declares 8,000,000,000 bytes, 80 are there")


def _header(shape: tuple[int, ...]) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return stream.getvalue()


def test_arrays__more_than_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    _save(**_points())
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=1024))
    _refused(r"dataset.path=my.npz: declares \d\.\d+ KB, expected at most the 1\.02 KB of memory that are available")


def test_arrays__no_x() -> None:
    _save(data=np.zeros((3, 2)), labels=np.zeros(3))
    _refused("dataset.path=my.npz: no array named X, it holds data, labels; rename one to X")


def test_arrays__an_archive_of_many_names_is_listed_in_short() -> None:
    _save(**{f"a{i}": np.zeros(1) for i in range(20)})
    _refused("dataset.path=my.npz: no array named X, it holds a0, a1, a2, a3, a4, a5, a6, a7, ...; rename one to X")
    _save()
    _refused("dataset.path=my.npz: no array named X, it holds nothing; rename one to X")


def test_arrays__no_y() -> None:
    _save(X=np.zeros((3, 2)), labels=np.zeros(3))
    _refused("dataset.path=my.npz: no array named y, it holds X, labels; add it or set dataset.targets=FILE.npy")


def test_arrays__npy_without_targets() -> None:
    np.save("X.npy", np.zeros((3, 2)))
    _refused("dataset.path=X.npy: no array named y, it holds X; add it or set dataset.targets", path="X.npy")


def test_arrays__targets_twice() -> None:
    _save(**_points())
    np.save("y.npy", _points()["y"])
    _refused("dataset.targets=y.npy: my.npz already holds y, leave dataset.targets away", targets="y.npy")


def test_arrays__targets_file_wrong() -> None:
    np.save("X.npy", _points()["X"])
    _refused("dataset.targets=y.npy: cannot read the file", path="X.npy", targets="y.npy")
    np.savez("labels.npz", labels=np.zeros(60))
    _refused("dataset.targets=labels.npz: no array named y, it holds labels", path="X.npy", targets="labels.npz")
    np.save("short.npy", np.zeros(59, int))
    _refused("dataset.targets=short.npy: y has 59 labels for 60 points", path="X.npy", targets="short.npy")


# Wrong inputs.


@pytest.mark.parametrize("array", [np.full((60, 4), "a"), np.zeros((60, 4), complex), np.zeros((60, 4), "M8[s]")])
def test_arrays__inputs_that_are_no_numbers(array: np.ndarray[Any, Any]) -> None:
    _save(**(_points() | {"X": array}))
    _refused(r"dataset.path=my.npz: X has type .*, expected numbers")


@pytest.mark.parametrize("shape", [(), (60,), (0, 4), (60, 0)])
def test_arrays__inputs_without_samples_or_features(shape: tuple[int, ...]) -> None:
    _save(**(_points() | {"X": np.zeros(shape)}))
    listed = str(list(shape)).replace("[", r"\[").replace("]", r"\]")
    _refused(rf"dataset.path=my.npz: X has shape {listed}, expected \[N, \.\.\.\]")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_arrays__inputs_that_are_not_finite(value: float) -> None:
    points = _points()
    points["X"][7, 2] = points["X"][9, :2] = value
    _save(**points)
    _refused("dataset.path=my.npz: X has 3 values that are NaN or infinite in float32, the first in row 7")


def test_arrays__unlabelled_inputs_are_checked_too() -> None:
    _save(**_points(), X_unlabelled=np.full((2, 4), np.nan))
    _refused("dataset.path=my.npz: X_unlabelled has 8 values that are NaN or infinite")
    _save(**_points(), X_unlabelled=np.zeros((2, 5)))
    _refused(r"dataset.path=my.npz: X_unlabelled has samples of shape \[5\], but X of \[4\]")
    _save(**_points(), X_unlabelled=np.zeros((2, 4), np.uint8))
    _refused("dataset.path=my.npz: X is float64 but X_unlabelled is uint8; uint8 is scaled")


# Wrong labels.


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros(59, int), "y has 59 labels for 60 points, expected one for each"),
        (np.zeros((60, 3), int), r"y has shape \[60, 3\], expected \[N\]"),
        (np.arange(60) % 3 + 0.5, r"y has labels of type float64, expected whole numbers: save y.astype"),
        (np.arange(60) % 3 * 1.0, r"y has labels of type float64, expected whole numbers"),
        (np.where(np.arange(60) == 0, np.nan, 0.5), "y has labels of type float64, expected whole numbers"),
        (np.where(np.arange(60) == 0, np.nan, np.inf), "y has labels of type float64, expected whole numbers"),
        (np.array(["cat"] * 60), "y has type <U3, expected whole numbers"),
        (np.where(np.arange(60) == 5, -3, 0), "y has the label -3 in row 5, expected classes from 0"),
        (np.full(60, -1), "y has no label at all"),
        (np.zeros(60, int), "y holds only one class, expected at least 2"),
        (np.arange(60) % 3 + 1, "class 0 has no example in y, though the highest class is 3"),
        (np.arange(60) % 3 * 2, "class 1 has no example in y, though the highest class is 4"),
        (np.where(np.arange(60) == 5, 10**12, 0), "class 1 has no example in y, though the highest class is 10{12}"),
        (np.where(np.arange(60) == 5, 1, 0), "class 1 has only 1 labelled example, at least 2 are needed"),
    ],
)
def test_arrays__labels_that_cannot_be(labels: np.ndarray[Any, Any], message: str) -> None:
    _save(X=_points()["X"], y=labels)
    _refused(f"dataset.path=my.npz: {message}")


def test_arrays__a_single_example_is_enough_where_the_test_is_given() -> None:
    labels = np.where(np.arange(60) == 5, 1, 0)
    path = _save(X=_points()["X"], y=labels, X_test=np.zeros((2, 4)), y_test=np.arange(2))
    assert len(Arrays(path=path, validation=0).load().train) == 60


def test_arrays__test_part_that_cannot_be() -> None:
    points, test = _points(), np.zeros((6, 4))
    _save(**points, X_test=test)
    _refused("dataset.path=my.npz: it holds X_test but no y_test")
    _save(**points, y_test=np.zeros(6, int))
    _refused("dataset.path=my.npz: it holds y_test but no X_test")
    _save(**points, X_test=test, y_test=np.arange(5))
    _refused("dataset.path=my.npz: y_test has 5 labels for 6 points")
    _save(**points, X_test=test, y_test=np.array([0, 1, -1, 0, 1, 2]))
    _refused("dataset.path=my.npz: y_test has no label in row 2, move such points to X_unlabelled")
    _save(**points, X_test=test, y_test=np.arange(6))
    _refused("dataset.path=my.npz: class 3 has no example in y, though the highest class is 5")
