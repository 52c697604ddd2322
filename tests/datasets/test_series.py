import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from kd_lab.datasets.common.scaled import Scaled, ZNormed
from kd_lab.datasets.series import Series
from kd_lab.errors import UserError
from kd_lab.types import UNLABELLED, Data
from tests.datasets.series_files import TESTING, TRAINING, Row, columns, ts, write


def load(folder: Path, **settings: Any) -> Data:
    return Series(path=str(folder), **settings).load()


def rows(data: Data) -> Tensor:
    found = data.read(torch.arange(len(data.targets)))
    assert isinstance(found, Tensor)
    return found


def made(tmp_path: Path, train: list[Row] = TRAINING, test: list[Row] = TESTING, header: str = "") -> Path:
    return write(tmp_path, ts(train, header), ts(test, header))


def test_series__reads_the_pair_and_keeps_the_official_split(tmp_path: Path) -> None:
    data = load(made(tmp_path), normalize="none")
    assert rows(data).tolist() == [[[1, 2, 3]], [[4, 6, 5]], [[0, 0, 1]], [[9, 7, 5]], [[3, 1, 2]], [[2, 2, 8]]]
    assert rows(data).dtype == torch.float32
    assert data.targets.tolist() == [1, 0, 1, 0, 0, 1]
    assert (data.train.tolist(), data.test.tolist()) == ([0, 1, 2, 3], [4, 5])
    assert (data.name, data.num_classes, data.from_raw) == ("Made", 2, None)
    assert data.class_names == ("a", "b")


def test_series__channels_come_first(tmp_path: Path) -> None:
    train = [("1,2,3:4,5,6", "a"), ("7,8,9:0,1,2", "b")]
    data = load(made(tmp_path, train, train[:1], "@dimensions 2\n@equalLength true\n"), normalize="none")
    assert data.input_shape == (2, 3)
    assert rows(data)[0].tolist() == [[1, 2, 3], [4, 5, 6]]


@pytest.mark.parametrize(("ending", "separator"), [(".tsv", "\t"), (".txt", "  "), (".txt", ",")])
def test_series__older_files_have_the_label_first(tmp_path: Path, ending: str, separator: str) -> None:
    train = [("1,2,3", "10"), ("4,6,5", "2.0000000e+00"), ("0,0,1", "2"), ("9,7,5", "-1")]
    texts = [columns(part, separator) for part in (train, train[:1])]
    data = load(write(tmp_path, *texts, ending=ending), normalize="none")
    assert data.class_names == ("-1", "2", "10")
    assert data.targets.tolist() == [2, 1, 1, 0, 2]
    assert rows(data)[1].tolist() == [[4, 6, 5]]


def test_series__a_set_is_found_by_its_name_in_its_own_folder_or_by_its_file(tmp_path: Path) -> None:
    write(tmp_path / "One", ts(TRAINING), ts(TESTING), "One")
    write(tmp_path, ts(TRAINING[:2]), ts(TESTING), "Two")
    assert len(load(tmp_path, name="One").train) == 4
    assert len(load(tmp_path, name="Two").train) == 2
    assert len(load(tmp_path / "One" / "One_TRAIN.ts").train) == 4
    assert load(tmp_path / "One").name == "One"


def test_series__of_two_kinds_of_one_set_ts_is_read(tmp_path: Path) -> None:
    write(made(tmp_path), columns([("1", "1"), ("2", "2")], "\t"), columns([("1", "1")], "\t"), ending=".tsv")
    assert len(load(tmp_path).train) == 4


def test_series__a_sample_is_normalised_by_itself_and_a_constant_is_zero(tmp_path: Path) -> None:
    train = [("1,2,6", "a"), ("0.1,0.1,0.1", "b"), ("1000000.1,1000000.1,1000000.1", "b")]
    data = load(made(tmp_path, train))
    x = np.array([1.0, 2.0, 6.0])
    np.testing.assert_allclose(rows(data)[0, 0].numpy(), (x - x.mean()) / x.std(), rtol=1e-5)
    assert rows(data)[1:3].eq(0).all()
    assert isinstance(data.from_raw, ZNormed)
    assert data.from_raw.node == {"_target_": "kd_lab.datasets.common.scaled.ZNormed"}
    raw = torch.tensor([[[1.0, 2.0, 6.0]]])
    torch.testing.assert_close(data.from_raw(raw)[0], rows(data)[0])
    assert raw.tolist() == [[[1, 2, 6]]], "what came is left alone"


def test_series__train_normalises_with_what_a_student_may_see(tmp_path: Path) -> None:
    train = [*TRAINING, ("100,100,100", "a"), ("200,200,200", "b")]
    data = load(made(tmp_path, train), normalize="train", validation=2, seed=1)
    seen = np.array([[float(x) for x in train[row][0].split(",")] for row in data.transfer.tolist()])
    raw = np.array([[float(x) for x in values.split(",")] for values, _ in train])
    np.testing.assert_allclose(rows(data)[:6, 0].numpy(), (raw - seen.mean()) / seen.std(), rtol=1e-5, atol=1e-6)
    assert isinstance(data.from_raw, Scaled)


def test_series__validation_and_labels_are_cut_from_the_training_file(tmp_path: Path) -> None:
    data = load(made(tmp_path, TRAINING * 5), validation=4, labels=6)
    sizes = (len(data.train), len(data.transfer), len(data.validation), len(data.test))
    assert sizes == (6, 16, 4, 2)
    assert int((data.targets == UNLABELLED).sum()) == 10
    assert not set(data.validation.tolist()) & set(data.transfer.tolist())


def test_series__lengths_that_differ_are_refused_or_made_alike_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = made(tmp_path, [("1,2,3,4", "a"), ("5,6", "b")], [("7,8,9", "a")])
    with pytest.raises(UserError, match=r"series of Made have 2 to 4 steps, expected all alike; dataset\.length=4 "):
        load(folder)
    with caplog.at_level(logging.WARNING, logger="kd_lab"):
        data = load(folder, length=3, normalize="none")
    assert rows(data)[:, 0].tolist() == [[1, 2, 3], [5, 6, 6], [7, 8, 9]]
    assert caplog.messages == [
        "dataset.length=3: of 3 channels with 2 to 4 steps, 1 are cut to 3 and 1 go on with their last value."
    ]


def test_series__missing_values_at_the_end_of_older_files_are_the_end(tmp_path: Path) -> None:
    text = columns([("1,2,NaN", "1"), ("3,4,5", "2")], "\t")
    data = load(write(tmp_path, text, text, ending=".tsv"), length=3, normalize="none")
    assert rows(data)[0].tolist() == [[1, 2, 2]]


def test_series__missing_values_are_interpolated_on_request(tmp_path: Path) -> None:
    folder = made(tmp_path, [("?,2,?,4,NaN", "a"), ("1,1,1,1,1", "b")], [("1,2,3,4,5", "a")])
    with pytest.raises(UserError, match=r"Made_TRAIN\.ts, line 7 has 3 missing values, expected none; dataset\.mis"):
        load(folder)
    assert rows(load(folder, missing="interpolate", normalize="none"))[0].tolist() == [[2, 2, 3, 4, 4]]


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        ([*TRAINING, ("1,2,3", "")], TESTING, r"Made_TRAIN\.ts, line 11 has no label: .*but got 1,2,3:\."),
        ([*TRAINING, ("1,2,3", "?")], TESTING, r"line 11 has no label"),
        ([*TRAINING, ("1,2,3", "c")], TESTING, r"line 11 has the label c, which is not in @classLabel a, b\."),
        ([*TRAINING, ("1,x,3", "a")], TESTING, r"line 11 holds what is no number .*'x'"),
        ([*TRAINING, ("1,1e99,3", "a")], TESTING, r"line 11 holds a value that is infinite in float32"),
        ([*TRAINING, ("1,2,3:1,2,3", "a")], TESTING, r"line 11 has 2 channels, those before it 1"),
        ([("1,2,3:1,2,3", "a"), ("1,2,3", "b")], TESTING, r"line 8 has no label"),
        (TRAINING, [("1:2", "a")], r"Made_TRAIN\.ts has series of 1 channels, Made_TEST\.ts of 2; expected"),
        (
            TRAINING[::2],
            TESTING,
            r"Made_TEST\.ts, line 7 has the label a, which no series in the training file has",
        ),
        (TRAINING[::2], TESTING[1:], r"holds the label b only, expected at least 2 classes"),
        (TRAINING, [], r"Made_TEST\.ts holds no sample"),
        ([("?,?", "a"), ("1,2", "b")], TESTING, r"line 7 has no value at all in channel 0"),
    ],
)
def test_series__says_what_is_wrong_with_a_line(tmp_path: Path, train: Any, test: Any, message: str) -> None:
    made(tmp_path, train, test)
    with pytest.raises(UserError, match=rf"^dataset\.path=.*{message}"):
        load(tmp_path, missing="interpolate")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it has no line @data"),
        ("1,2,3:a\n", "line 1 stands before @data"),
        ("@classLabel true a b\n1,2:a\n", "line 2 stands before @data"),
        (
            "@timeStamps true\n@data\n",
            "line 1: its values have time stamps, expected values at even steps: interpol",
        ),
        ("@targetlabel true\n@data\n", "line 1: its targets are numbers to predict, expected classes"),
        ("@classLabel false\n@data\n1,2\n", "its header names no classes: expected a line such as @classLabel true"),
    ],
)
def test_series__says_what_is_wrong_with_a_header(tmp_path: Path, text: str, message: str) -> None:
    write(tmp_path, text, ts(TESTING))
    with pytest.raises(UserError, match=rf"^dataset\.path=.*: Made_TRAIN\.ts, {message}"):
        load(tmp_path)


def test_series__a_line_without_a_label_in_an_older_file(tmp_path: Path) -> None:
    write(tmp_path, "1\t2\t3\nNaN\t2\t3\n", "1\t2\t3\n", ending=".tsv")
    with pytest.raises(UserError, match=r"Made_TRAIN\.tsv, line 2 has no label: expected LABEL VALUE VALUE"):
        load(tmp_path)


def test_series__a_file_that_is_no_text(tmp_path: Path) -> None:
    made(tmp_path)
    (tmp_path / "Made_TEST.ts").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"Made_TEST\.ts is no text, expected a \.ts file of series"):
        load(tmp_path)


def test_series__no_such_set(tmp_path: Path) -> None:
    for name in ("FordA", "FordB"):
        write(tmp_path / name, ts(TRAINING), ts(TESTING), name)
    with pytest.raises(
        UserError,
        match=r"^dataset\.name=fordb: .* has no fordb_TRAIN\.ts; did you mean FordB\? \(known: FordA, FordB",
    ):
        load(tmp_path, name="fordb")
    with pytest.raises(UserError, match=r"has no Crop_TRAIN\.ts; expected one of FordA, FordB$"):
        load(tmp_path, name="Crop")
    with pytest.raises(UserError, match=r"holds 2 sets, choose one: dataset\.name=FordA \(known: FordA, FordB\)$"):
        load(tmp_path)
    (tmp_path / "FordA" / "FordA_TEST.ts").unlink()
    with pytest.raises(UserError, match=r"FordA_TRAIN\.ts is there but no FordA_TEST\.ts, put it beside\.$"):
        load(tmp_path, name="FordA")


def test_series__nothing_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds 0 sets, expected files such as GunPoint_TRAIN\.ts and GunPoint_TEST"):
        load(tmp_path)
    with pytest.raises(UserError, match=r"there is no such folder, expected one that holds NAME_TRAIN\.ts"):
        load(tmp_path / "none")
    with pytest.raises(UserError, match=r"^dataset\.name=Crop: .*Made_TRAIN\.ts is of Made; name its folder"):
        load(made(tmp_path / "made") / "Made_TRAIN.ts", name="Crop")
    (tmp_path / "my.npz").write_bytes(b"PK")
    with pytest.raises(UserError, match=r"expected a folder or a file NAME_TRAIN .* read by dataset=arrays\.$"):
        load(tmp_path / "my.npz")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"path": ""}, "`path` to name a folder"),
        ({"normalize": "batch"}, "`normalize` to be sample, train or none, but got batch"),
        ({"missing": "zero"}, "`missing` to be refuse or interpolate, but got zero"),
        ({"length": 0}, "`length` to be at least 1, or null .*but got 0"),
    ],
)
def test_series__settings_that_no_data_can_meet(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Series(**{"path": "x", **settings})
