from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from kd_lab.datasets.common.columns import Columns, transformer
from kd_lab.datasets.common.munge import Munge
from kd_lab.datasets.common.spunge import Spunge
from kd_lab.datasets.table import Table
from kd_lab.errors import UserError
from kd_lab.job.build import build
from kd_lab.outside.nodes import PREPARE
from kd_lab.types import UNLABELLED, Data
from tests.reference.munge import munge_pass
from tests.reference.spunge import spunge


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def frame(count: int = 60) -> pd.DataFrame:
    random = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "age": random.integers(18, 80, count),
            "income": random.normal(2000, 700, count).round(2),
            "city": random.choice(["Bern", "Jena", "Ulm"], count),
            "owns": random.choice([True, False], count),
            "class": np.where(np.arange(count) % 3 > 0, "good", "bad"),
        }
    )


def save(table: pd.DataFrame, path: str = "my.csv", **more: Any) -> str:
    table.to_csv(path, index=False, **more)
    return path


def load(table: pd.DataFrame | None = None, **settings: Any) -> Data:
    path = save(frame() if table is None else table)
    data = Table(**({"path": path, "target": "class"} | settings)).load()
    assert isinstance(data, Data)
    return data


def refused(message: str, table: pd.DataFrame | None = None, **settings: Any) -> None:
    """`load` refuses with that message, which starts with the key."""
    if table is not None:
        save(table)
    with pytest.raises(UserError, match="^" + message):
        Table(**({"path": "my.csv", "target": "class"} | settings)).load()


def features(data: Data, rows: torch.Tensor | None = None) -> torch.Tensor:
    numbers = torch.arange(len(data.targets)) if rows is None else rows
    given = data.rows(numbers).batch(0, len(numbers), "cpu")
    assert isinstance(given, torch.Tensor)
    return given


# What it reads.


def test_table__types_its_columns_and_cuts_a_fifth_for_the_test() -> None:
    data = load()
    assert (len(data.train), len(data.validation), len(data.test), data.num_classes) == (48, 0, 12, 2)
    assert data.input_shape == (2 + 3 + 2,)
    assert data.class_names == ("bad", "good")
    assert data.targets.tolist() == (np.arange(60) % 3 > 0).astype(int).tolist()
    assert data.told == (
        "table: 4 columns, 2 of numbers, 2 of categories, 7 features; no value missing; classes bad, good",
    )


def test_table__is_prepared_as_column_transformer_does_it_fitted_on_the_training_rows_alone() -> None:
    table = frame()
    table.loc[[3, 7, 11], "age"] = np.nan
    table.loc[[4, 8], "city"] = None
    data = load(table, validation=10)
    codes = pd.DataFrame(
        {
            "age": table["age"],
            "income": table["income"],
            "city": table["city"].map({"Bern": 0, "Jena": 1, "Ulm": 2}),
            "owns": table["owns"].astype(int),
        }
    ).to_numpy(np.float64)
    learned = transformer([0, 1], [2, 3]).fit(codes[data.transfer.numpy()])
    np.testing.assert_allclose(features(data).numpy(), learned.transform(codes), rtol=1e-6, atol=1e-6)
    seen = features(data, data.transfer)
    assert torch.allclose(seen[:, :2].mean(dim=0), torch.zeros(2), atol=1e-6)
    assert "5 of 240 values missing (age 3, city 2)" in data.told[0]


@pytest.mark.parametrize("kind", ["tsv", "parquet", "semicolon"])
def test_table__other_files_of_the_same_rows(kind: str) -> None:
    expected = load()
    if kind == "parquet":
        frame().to_parquet("my.parquet")
        data = Table(path="my.parquet", target="class").load()
    elif kind == "tsv":
        data = Table(path=save(frame(), "my.tsv", sep="\t"), target="class").load()
    else:
        data = Table(path=save(frame(), "my.txt", sep=";"), target="class", separator=";").load()
    assert torch.equal(features(data), features(expected))
    assert torch.equal(data.test, expected.test)


def test_table__numbers_that_are_names_of_categories_and_columns_left_out() -> None:
    table = frame()
    table["zip"] = [10, 20, 30] * 20
    assert load(table).input_shape == (8,)
    assert load(table, categorical=["zip"]).input_shape == (10,)
    assert load(table, drop=["zip", "city"]).input_shape == (4,)


def test_table__classes_that_are_numbers_keep_their_order() -> None:
    table = frame()
    table["class"] = np.array([10, 9, 100])[np.arange(60) % 3]
    data = load(table)
    assert data.class_names == ("9", "10", "100")
    assert data.targets[:3].tolist() == [1, 0, 2]


def test_table__a_row_without_a_class_is_for_transfer_alone() -> None:
    table = frame()
    table.loc[[0, 5], "class"] = None
    data = load(table)
    assert data.targets[[0, 5]].tolist() == [UNLABELLED] * 2
    assert set(data.transfer.tolist()) - set(data.train.tolist()) == {0, 5}


def test_table__files_for_test_and_validation(caplog: pytest.LogCaptureFixture) -> None:
    test = frame(30)
    test.loc[[1, 2], "city"] = "Rom"
    save(test[["class", "city", "owns", "income", "age"]], "test.csv")
    save(frame(15), "val.csv")
    data = load(test_path="test.csv", val_path="val.csv")
    assert (len(data.train), len(data.test), len(data.validation)) == (60, 30, 15)
    assert data.test.tolist() == list(range(60, 90))
    assert features(data)[61, 2:5].tolist() == [0, 0, 0]
    assert "column city has a category in 2 rows of the other files that is not in these" in caplog.text


def test_table__what_a_file_holds_is_in_its_fingerprint() -> None:
    table = frame()
    first = load(table).fingerprint
    assert load(table).fingerprint == first
    table["city"] = table["city"].replace("Ulm", "Ulm an der Donau")
    assert load(table).fingerprint != first


def test_table__looks_like_an_id(caplog: pytest.LogCaptureFixture) -> None:
    table = frame()
    table["number"], table["name"] = range(60), [f"row{i}" for i in range(60)]
    load(table)
    assert "column number differs in all 60 rows, as an id does" in caplog.text
    assert "column name differs in all 60 rows" in caplog.text
    assert "column income" not in caplog.text


def test_table__a_column_without_a_value_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    table = frame()
    table["empty"] = None
    assert load(table).input_shape == (7,)
    assert "no value at all in empty, left out" in caplog.text


def test_columns__is_built_again_from_its_node_and_reads_new_rows() -> None:
    data = load()
    assert isinstance(data.prepare, Columns)
    again = build("network.prepare", data.prepare.node, allowed=PREPARE)
    assert repr(again) == repr(data.prepare)
    batches = [*again.batches(save(frame()[["owns", "city", "age", "income"]], "new.csv"), 25)]
    assert [len(read.inputs) for read in batches] == [25, 25, 10]
    assert torch.equal(again(torch.cat([read.inputs for read in batches])), features(data))
    with pytest.raises(ValueError, match=r"Expected rows of 4 columns, but got \[3\]"):
        again(torch.zeros(2, 3, dtype=torch.float64))


# Rows that are made.


def test_munge__is_as_its_figure_2() -> None:
    random = np.random.default_rng(1)
    rows = np.concatenate([random.normal(size=(40, 3)) * [1, 10, 100], random.integers(0, 3, (40, 2))], axis=1)
    categories = np.array([False, False, False, True, True])
    made = Munge(0.6, 2.0)(rows, categories, 40, seed=7)
    np.testing.assert_allclose(made, munge_pass(rows, categories, 0.6, 2.0, np.random.default_rng(7)))
    assert not np.allclose(made, rows)
    np.testing.assert_array_equal(Munge(0.0, 2.0)(rows, categories, 40, seed=7), rows)


def test_munge__makes_as_many_as_are_asked_for_of_values_that_are_there() -> None:
    rows = np.array([[1.0, 0], [2, 1], [np.nan, 1], [4, np.nan], [5, 2]])
    made = Munge(0.5, 1e9)(rows, np.array([False, True]), 12, seed=0)
    assert made.shape == (12, 2)
    for column in range(2):
        known = made[:, column][~np.isnan(made[:, column])]
        assert set(np.round(known, 3)) <= set(rows[:, column][~np.isnan(rows[:, column])])


def test_table__munge_adds_rows_for_transfer_alone() -> None:
    plain, data = load(validation=8), load(validation=8, munge=100, munge_spread=5)
    assert len(data.transfer) == len(plain.transfer) + 100
    assert data.targets[60:].tolist() == [UNLABELLED] * 100
    for part in ("train", "validation", "test"):
        assert torch.equal(getattr(data, part), getattr(plain, part))
    assert torch.equal(features(data)[:60], features(plain))
    assert data.told[1] == "munge: 100 rows without a label, made of 40"
    assert torch.equal(features(load(validation=8, munge=100, munge_spread=5)), features(data))
    with pytest.raises(ValueError, match=r"`munge_probability` to be from 0 to 1, but got 2"):
        Table(path="my.csv", target="class", munge_probability=2)


def test_spunge__is_as_one_value_at_a_time() -> None:
    random = np.random.default_rng(1)
    rows = np.concatenate([random.normal(size=(40, 3)) * [1, 10, 100], random.integers(0, 3, (40, 2))], axis=1)
    rows[3, 1] = np.nan
    categories = np.array([False, False, False, True, True])
    made = Spunge(0.6, 0.3)(rows, categories, 100, seed=7)
    np.testing.assert_allclose(made, spunge(rows, categories, 0.6, 0.3, 100, seed=7))


def test_spunge__a_small_share_changes_one_column_of_each_row_and_without_noise_to_a_value_that_is_there() -> None:
    rows = np.arange(70.0).reshape(10, 7)
    made = Spunge(0.1, 0.0)(rows, np.zeros(7, dtype=bool), 25, seed=0)
    changed = made != rows[np.arange(25) % 10]
    assert changed.sum(axis=1).max() == 1
    assert changed.sum() > 15, "a donor may be the row itself"
    for column in range(7):
        assert set(made[:, column]) <= set(rows[:, column])


def test_table__spunge_adds_rows_beside_those_of_munge() -> None:
    data = load(validation=8, munge=100, spunge=50)
    assert data.targets[60:].tolist() == [UNLABELLED] * 150
    assert data.told[1:3] == (
        "munge: 100 rows without a label, made of 40",
        "spunge: 50 rows without a label, made of 40",
    )
    assert torch.equal(features(data)[:160], features(load(validation=8, munge=100)))
    with pytest.raises(ValueError, match=r"`spunge_share` to be above 0 and at most 1, but got 0"):
        Table(path="my.csv", target="class", spunge_share=0)
    with pytest.raises(ValueError, match=r"`spunge` to be >= 0, but got -1"):
        Table(path="my.csv", target="class", spunge=-1)


# What it refuses.


def test_table__refuses_a_file_that_is_no_table() -> None:
    refused(r"dataset\.path=my\.csv: cannot read the file \(No such file or directory\)")
    Path("my.csv").write_text("")
    refused(r"dataset\.path=my\.csv: the file is empty")
    Path("my.csv").write_text("age,class\n")
    refused(r"dataset\.path=my\.csv: it holds a line of names and no row")
    Path("my.csv").write_bytes(b"age,class\n1,\xff\xfe\n")
    refused(r"dataset\.path=my\.csv: not in UTF-8")
    Path("my.csv").write_text("age,class\n1,a\n2,b,c\n")
    refused(r"dataset\.path=my\.csv: its lines are not those of one table \(Expected 2 fields in line 3, saw 3\)")
    Path("my.parquet").write_bytes(b"PAR1 no")
    refused(r"dataset\.path=my\.parquet: damaged or no parquet file", path="my.parquet")
    Path("my.xls").write_bytes(b"age")
    refused(
        r"dataset\.path=my\.xls: a table is a \.csv, \.tsv or \.parquet file, but this ends in \.xls", path="my.xls"
    )


def test_table__refuses_lines_of_names_that_are_none() -> None:
    frame().to_csv("my.csv", index=False, header=False)
    refused(r"dataset\.path=my\.csv: its first line holds values, such as \d+, where the names of the columns")
    save(frame(), sep=";")
    refused(
        r"dataset\.path=my\.csv: its first line is one value when cut at a comma, and holds a semicolon; set "
        r"dataset\.separator='\";\"'"
    )
    save(frame(), sep="\t")
    refused(r"dataset\.path=my\.csv: .* holds a tab; set dataset\.separator=\"\\t\"\.")
    Path("my.csv").write_text("age,age,class\n1,2,a\n")
    refused(r"dataset\.path=my\.csv: 2 columns are called age")
    frame().to_csv("my.csv")
    refused(r"dataset\.path=my\.csv: column 1 has no name")
    Path("my.csv").write_text("age,class\n1,2,a\n")
    refused(r"dataset\.path=my\.csv: 2 names, but 3 values in the first row")


def test_table__refuses_columns_that_are_not_there() -> None:
    refused(r"dataset\.target=clas: my\.csv has no such column; did you mean class\?", frame(), target="clas")
    refused(r"dataset\.drop=citi: my\.csv has no such column; did you mean city\?", drop=["citi"])
    refused(r"dataset\.categorical=\['Age'\]: no column Age; did you mean age\?", categorical=["Age"])
    save(frame().drop(columns="owns"), "test.csv")
    refused(r"dataset\.test_path=test\.csv: no column owns; ", test_path="test.csv")
    refused(r"dataset\.path=my\.csv: no column holds a value beside class", frame()[["class"]])


def test_table__refuses_a_column_of_numbers_and_texts() -> None:
    table = frame()
    table["age"] = table["age"].astype(object)
    table.loc[[7, 9], "age"] = "unknown"
    refused(
        r"dataset\.path=my\.csv: column age holds numbers but for 2 of 60 values, the first 'unknown' in row 7; if it "
        r"stands for no value set dataset\.missing=\[unknown\], if these are names of categories "
        r"dataset\.categorical=\[age\]",
        table,
    )
    assert "2 of 240 values missing (age 2)" in load(table, missing=["unknown"]).told[0]
    save(table, "test.csv")
    save(frame())
    refused(
        r"dataset\.test_path=test\.csv: column age has 'unknown' in row 7, expected a finite number",
        test_path="test.csv",
    )


def test_table__refuses_numbers_that_are_not_finite_and_dates() -> None:
    table = frame()
    table["income"] = np.where(np.arange(60) == 4, np.inf, 1.5)
    refused(r"dataset\.path=my\.csv: column income has 'inf' in row 4, expected a finite number", table)
    table["day"] = pd.Timestamp("2026-01-01")
    table.to_parquet("my.parquet")
    refused(
        r"dataset\.path=my\.parquet: column day holds dates; .* dataset\.drop=\[day\]",
        path="my.parquet",
        drop=["income"],
    )


def test_table__refuses_a_target_that_is_no_class() -> None:
    table = frame()
    refused(
        r"dataset\.target=income: 60 labels hold 60 different numbers, .*; kd-lab classifies", table, target="income"
    )
    table["class"] = [f"row{i}" for i in range(60)]
    refused(r"dataset\.target=class: 60 labels hold 60 different texts, as names of the rows are", table)
    table["class"] = "one"
    refused(r"dataset\.target=class: it holds only one class, one", table)
    table["class"] = None
    refused(r"dataset\.target=class: no row has a label", table)


def test_table__refuses_labels_of_a_test_file_that_are_unknown_or_missing() -> None:
    save(frame())
    other = frame(20)
    other.loc[3, "class"] = "god"
    save(other, "test.csv")
    refused(
        r"dataset\.test_path=test\.csv: the label god in row 3 is none of .* did you mean good\?", test_path="test.csv"
    )
    other.loc[3, "class"] = None
    save(other, "test.csv")
    refused(r"dataset\.test_path=test\.csv: no label in row 3", test_path="test.csv")


def test_table__refuses_classes_too_small_and_settings_that_do_not_fit() -> None:
    table = frame()
    table.loc[0, "class"] = "rare"
    refused(r"dataset\.path=my\.csv: class rare has only 1 labelled example, .* or give dataset\.test_path=FILE", table)
    with pytest.raises(ValueError, match=r"`validation` to be 0 beside val_path, but got 5"):
        Table(path="my.csv", target="class", val_path="val.csv", validation=5)
    with pytest.raises(ValueError, match=r"`test` to be > 0"):
        Table(path="my.csv", target="class", test=0)
