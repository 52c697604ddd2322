"""What reads samples for a kept network: built again, it gives what the dataset gave, and says what is wrong."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from kd_lab.datasets.anndata import AnnData
from kd_lab.datasets.common import tokens
from kd_lab.datasets.hf_images import HfImages
from kd_lab.datasets.image_folder import ImageFolder
from kd_lab.datasets.series import Series
from kd_lab.datasets.text import Text
from kd_lab.errors import UserError
from kd_lab.inputs import tensors
from kd_lab.job.build import build
from kd_lab.outside.nodes import READER
from kd_lab.types import Data
from tests.datasets import test_anndata, test_hf_images, test_text
from tests.datasets.picture_files import in_parts, picture
from tests.datasets.series_files import columns, ts, write


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def reader(data: Data) -> Any:
    """As a run keeps it and finds it again."""
    assert data.reader is not None
    given = {"input_shape": data.input_shape, "padding": data.tokens.padding if data.tokens else 0}
    return build("network.reader", json.loads(json.dumps(data.reader.node)), given, READER)


def read(data: Data, path: str, size: int = 4) -> tuple[Any, list[str], list[int]]:
    """All samples of a file, by name or one tensor, their names, and the sizes of the batches."""
    batches = [*reader(data).batches(path, size)]
    parts = [tensors(batch.inputs) for batch in batches]
    inputs = [torch.cat(one) for one in zip(*parts, strict=True)]
    return inputs, [name for batch in batches for name in batch.names], [len(part[0]) for part in parts]


def check_same(data: Data, rows: Tensor, path: str) -> list[str]:
    """The samples of a file become the rows of the dataset; their names."""
    found, names, _ = read(data, path)
    if data.from_raw is not None:
        found = [data.from_raw(one) for one in found]
    for one, other in zip(found, tensors(data.read(rows)), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    return names


def refused(data: Data, path: str, message: str) -> None:
    with pytest.raises(UserError, match=f"^{message}"):
        read(data, path)


# Texts.


def texts(frame: pd.DataFrame = test_text.FRAME, **settings: Any) -> Data:
    frame.to_csv("my.csv", index=False)
    frame.iloc[14:].to_csv("test.csv", index=False)
    return Text(path="my.csv", test_path="test.csv", **settings).load()


OWN: list[Callable[[], dict[str, Any]]] = [
    dict,
    lambda: {"analyzer": "char", "lowercase": False, "vocabulary": 9, "length": 8},
    lambda: {"tokenizer": test_text._tokenizer(), "length": 8},
]


@pytest.mark.parametrize("settings", OWN)
@pytest.mark.parametrize("second", [None, "other"])
@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "parquet"])
def test_texts__as_the_dataset_has_them(
    settings: Callable[[], dict[str, Any]], second: str | None, ending: str
) -> None:
    frame = test_text.FRAME.assign(other=[f"The {n} of good zorp" for n in range(20)])
    data = texts(frame, second=second, **settings())
    new = frame.iloc[14:].drop(columns="label").rename(columns=str)
    {
        "csv": lambda: new.to_csv("new.csv", index=False),
        "tsv": lambda: new.to_csv("new.tsv", index=False, sep="\t"),
        "jsonl": lambda: new.to_json("new.jsonl", orient="records", lines=True),
        "parquet": lambda: new.to_parquet("new.parquet"),
    }[ending]()
    check_same(data, data.test, f"new.{ending}")
    assert read(data, f"new.{ending}")[2] == [4, 2]


def test_texts__a_large_tokenizer_is_known_by_its_name_and_content(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "LARGEST_KEPT", 10)
    data = texts(tokenizer=test_text._tokenizer())
    assert data.reader is not None
    assert data.reader.node["name"] == "tok"
    check_same(data, data.test, "test.csv")
    test_text._tokenizer(number=7)
    refused(data, "test.csv", "the network's tokenizer tok: is another one here than the network learned with")


def test_texts__what_is_unknown_or_too_long_is_told(caplog: pytest.LogCaptureFixture) -> None:
    data = texts()
    Path("new.csv").write_text("text\n" + 5 * "good zorp film number 1 ! really and more\n")
    read(data, "new.csv")
    assert caplog.messages == [
        "new.csv: 5 words are none that the network learned, and count as unknown.",
        "new.csv: 5 texts of more than 7 tokens lose their ends.",
    ]


def test_texts__one_sentence_for_what_is_wrong() -> None:
    data = texts()
    Path("new.csv").write_text("text\n" + 5 * "good\n" + '" "\n')
    refused(data, "new.csv", r"new\.csv: row 5 has no text; fill it in, or take the row away\.$")
    Path("other.csv").write_text("texts,label\ngood,pos\n")
    refused(data, "other.csv", r"other\.csv: no column text; did you mean texts\?")
    Path("none.csv").write_text("text\n")
    refused(data, "none.csv", r"none\.csv: it holds no row; expected texts in a column text")
    Path("bad.jsonl").write_text('{"text": "good"}\n{"text": \n')
    refused(data, "bad.jsonl", r"bad\.jsonl: cannot be read as JSON lines")
    refused(data, "gone.csv", r"gone\.csv: cannot read the file \(No such file")
    node = {**reader(texts(tokenizer=test_text._tokenizer())).node, "tokenizer": '{"model": 1}'}
    broken = build("network.reader", node, {"input_shape": data.input_shape, "padding": 0}, READER)
    with pytest.raises(UserError, match=r"^the network's tokenizer cannot be read"):
        next(broken.batches("my.csv", 4))


def test_texts__of_a_file_without_a_header() -> None:
    test_text.FRAME.to_csv("my.csv", index=False, header=False, sep=";")
    data = Text(path="my.csv", separator=";", header=["text", "label"]).load()
    check_same(data, torch.arange(20), "my.csv")


# Pictures.


def test_pictures__a_folder_of_them_and_one(tmp_path: Path) -> None:
    data = ImageFolder(path=str(in_parts(tmp_path / "x")), size=16, resize=20).load()
    names = check_same(data, data.test, "x/val")
    assert names[:2] == ["ant/1000.png", "ant/1001.png"]
    assert read(data, "x/val", 4)[2] == [4, 4, 1]
    assert check_same(data, data.test[:1], "x/val/ant/1000.png") == ["1000.png"]


def test_pictures__one_sentence_for_what_is_none(tmp_path: Path) -> None:
    data = ImageFolder(path=str(in_parts(tmp_path / "x")), size=16).load()
    Path("y").mkdir()
    refused(data, "y", "y: expected a picture, or a folder with pictures in it, and there is none")
    refused(data, "gone", "gone: there is no such file or folder")
    Path("y/a.png").write_bytes(b"no picture")
    refused(data, "y", r"y: a\.png cannot be read as a picture \(no format that Pillow knows\); repair it, or take it")
    picture(1).save("y/b.png")
    refused(data, "y/a.png", r"y/a\.png: a\.png cannot be read as a picture")


def test_pictures__tables_of_hugging_face(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hf = pytest.importorskip("datasets")
    monkeypatch.setattr(hf.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    test_hf_images.parquet(test_hf_images.parquet(tmp_path / "x"), count=9, split="test")
    data = HfImages(path=str(tmp_path / "x"), size=16).load()
    assert check_same(data, data.test, "x/test-00000-of-00001.parquet") == []
    hf.load_dataset("parquet", data_files="x/test-00000-of-00001.parquet")["train"].save_to_disk("saved")
    check_same(data, data.test, "saved")
    in_parts(tmp_path / "files")
    assert len(read(data, "files/val")[1]) == 9
    hf.Dataset.from_dict({"photo": [1]}).to_parquet("other.parquet")
    refused(data, "other.parquet", r"other\.parquet: no column image; expected one of photo")


# Cells.


def test_cells__by_the_names_of_their_genes() -> None:
    anndata = pytest.importorskip("anndata")
    for matrix in ("X", "raw"):
        data = AnnData(path=test_anndata.save(), label="cell_type", matrix=matrix, normalise="log1p").load()
        assert check_same(data, torch.arange(40), "my.h5ad")[:2] == ["c0", "c1"]
    data = AnnData(path="my.h5ad", label="cell_type").load()
    genes = pd.DataFrame(index=pd.Index(["h", "i", *(f"g{n}" for n in reversed(range(6)))], dtype=object))
    more = np.concatenate([np.ones((40, 2), np.float32), test_anndata.COUNTS[:, ::-1]], axis=1)
    anndata.AnnData(more, pd.DataFrame(index=test_anndata._names("c", 40)), genes).write_h5ad("order.h5ad")
    check_same(data, torch.arange(40), "order.h5ad")


def test_cells__one_sentence_for_what_is_wrong() -> None:
    pytest.importorskip("anndata")
    data = AnnData(path=test_anndata.save(), label="cell_type").load()
    Path("x.h5ad").write_bytes(b"none")
    refused(data, "x.h5ad", r"x\.h5ad: damaged or no \.h5ad file")
    refused(data, "gone.h5ad", r"gone\.h5ad: there is no such file")
    wide = test_anndata.COUNTS.copy()
    wide[9, 2] = np.nan
    refused(data, test_anndata.save(wide), r"my\.h5ad: values are NaN or infinite, first in cell 9")
    other = AnnData(path=test_anndata.save(), label="cell_type").load()
    node = {**reader(other).node, "genes": [*"abcde", "g1"]}
    made = build("network.reader", node, {}, READER)
    with pytest.raises(UserError, match=r"^my\.h5ad: 5 of the 6 genes that the network learned .* the first a;"):
        next(made.batches("my.h5ad", 4))


# Series.


@pytest.mark.parametrize("ending", [".ts", ".tsv"])
@pytest.mark.parametrize("settings", [{}, {"length": 5, "missing": "interpolate", "normalize": "none"}])
def test_series__as_the_dataset_has_them(ending: str, settings: dict[str, Any], tmp_path: Path) -> None:
    rows = [(f"{n},2,?,{n + 1}" if settings else f"{n},3,{n * n},1", "12"[n % 2]) for n in range(9)]
    made = (lambda some: ts(some, classes="1 2")) if ending == ".ts" else (lambda some: columns(some, "\t"))
    write(tmp_path, made(rows[:5]), made(rows[5:]), ending=ending)
    data = Series(path=str(tmp_path), **settings).load()
    check_same(data, data.test, f"Made_TEST{ending}")


def test_series__labels_need_not_be_there(tmp_path: Path) -> None:
    rows = [(f"{n},2,1:3,{n},5", "ab"[n % 2]) for n in range(9)]
    write(tmp_path, ts(rows[:5]), ts(rows[5:]))
    data = Series(path=str(tmp_path)).load()
    known = ts(rows[5:])
    Path("other.ts").write_text(known.replace(":a\n", ":zorp\n").replace(":b\n", ":?\n"))
    check_same(data, data.test, "other.ts")
    without = known.replace(":a\n", "\n").replace(":b\n", "\n")
    Path("without.ts").write_text(without.replace("@classLabel true a b", "@classLabel false"))
    check_same(data, data.test, "without.ts")


def test_series__one_sentence_for_what_is_wrong(tmp_path: Path) -> None:
    rows = [(f"{n},2,1", "ab"[n % 2]) for n in range(9)]
    write(tmp_path, ts(rows[:5]), ts(rows[5:]))
    data = Series(path=str(tmp_path)).load()
    Path("long.ts").write_text(ts([("1,2,3,4", "a")]))
    refused(data, "long.ts", r"long\.ts: line 7 has 4 steps, the network learned from 3; expected as many")
    Path("gap.ts").write_text(ts([("1,?,3", "a")]))
    refused(data, "gap.ts", r"gap\.ts: line 7 has 1 missing values, expected none")
    Path("wide.ts").write_text(ts([("1,2,3:1,2,3", "a")]))
    refused(data, "wide.ts", r"wide\.ts: long\.ts|wide\.ts: .*2 channels")
    refused(data, "wide.csv", r"wide\.csv: expected a file of series that ends in \.ts, \.tsv, \.txt, or \.npz")
