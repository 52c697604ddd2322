"""Texts of the user's own: files as they come, what is cut and told, tokens, and one sentence for what is wrong."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from kd_lab.datasets.common import token_cache
from kd_lab.datasets.text import Text
from kd_lab.errors import UserError
from kd_lab.types import UNLABELLED, Data

ROWS = [(f"good film number {n}, really" if n % 2 else f"bad film {n}!", "pos" if n % 2 else "neg") for n in range(20)]
FRAME = pd.DataFrame(ROWS, columns=["text", "label"])


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def _save(frame: pd.DataFrame = FRAME, name: str = "my.csv") -> str:
    frame.to_csv(name, index=False, sep="\t" if name.endswith(".tsv") else ",")
    return name


def _load(**settings: Any) -> Data:
    return Text(**({"path": "my.csv"} | settings)).load()


def _refused(message: str, **settings: Any) -> None:
    """`load` refuses with that message, which starts with the key."""
    with pytest.raises(UserError, match="^" + message):
        _load(**settings)


def _words(data: Data, row: int) -> list[int]:
    inputs = data.read(torch.tensor([row]))
    assert not isinstance(inputs, torch.Tensor)
    ids: list[int] = inputs["input_ids"][0, : int(inputs["attention_mask"].sum())].tolist()
    return ids


# What it reads.


@pytest.mark.parametrize("ending", ["csv", "tsv", "txt", "jsonl", "parquet"])
def test_text__the_same_data_from_every_kind_of_file(ending: str) -> None:
    name = f"my.{ending}"
    if ending == "jsonl":
        FRAME.to_json(name, orient="records", lines=True)
    elif ending == "parquet":
        FRAME.to_parquet(name)
    else:
        _save(name=name)
    data = _load(path=name)

    assert (data.num_classes, data.class_names) == (2, ("neg", "pos"))
    assert data.targets.tolist() == [n % 2 for n in range(20)]
    assert (len(data.train), len(data.test), len(data.validation)) == (16, 4, 0)
    assert data.fingerprint == _load(path=_save(name="again.csv")).fingerprint


def test_text__tokens_are_whole_numbers_with_a_mask() -> None:
    data = _load(path=_save())
    inputs = data.read(torch.arange(2))

    assert data.input_shape == {"input_ids": (7,), "attention_mask": (7,)}  # a start, good film number 1 , really
    assert not isinstance(inputs, torch.Tensor)
    assert inputs["input_ids"].dtype == inputs["attention_mask"].dtype == torch.int64
    assert inputs["attention_mask"].sum(1).tolist() == [5, 7]  # a start, bad film 0 !
    assert inputs["input_ids"][0, 5:].tolist() == [0, 0]
    assert _words(data, 0)[0] == 2
    assert len({*_words(data, 1)}) == 7


def test_text__words_are_those_of_the_training_texts_alone() -> None:
    frame = FRAME.assign(text=[f"only{n} shared" for n in range(20)])
    data = _load(path=_save(frame))
    tokens = [_words(data, row) for row in range(20)]

    assert data.tokens is not None
    assert data.tokens.vocab_size == 4 + 16 + 1
    assert all(tokens[row][1] == 1 for row in data.test.tolist())
    assert all(tokens[row][1] > 3 for row in data.train.tolist())
    assert len({row[2] for row in tokens}) == 1


def test_text__the_commonest_words_and_their_case() -> None:
    frame = FRAME.assign(text=["The the rare cat"] * 19 + ["the cat"])
    small, other = _load(path=_save(frame), vocabulary=2), _load(vocabulary=100, lowercase=False)
    assert small.tokens is not None
    assert other.tokens is not None
    assert (small.tokens.vocab_size, other.tokens.vocab_size) == (6, 8)
    assert _words(small, 0) == [2, 5, 5, 1, 4]


def test_text__characters_of_a_language_without_spaces() -> None:
    frame = FRAME.assign(text=["好电影" if n % 2 else "坏电影" for n in range(20)])
    data = _load(path=_save(frame), analyzer="char")
    assert data.tokens is not None
    assert data.tokens.vocab_size == 4 + 4
    assert _words(data, 1)[2:] == _words(data, 0)[2:]


def test_text__longer_texts_are_cut_and_that_is_told() -> None:
    frame = FRAME.assign(text=["a b c d e f g h i j"] * 3 + ["a b"] * 17)
    data = _load(path=_save(frame), length=8)
    assert data.input_shape["input_ids"] == (8,)
    assert data.told == (
        "text: classes neg, pos; 14 tokens (words of the training texts); 20 texts, 3 longer than dataset.length=8 "
        "lose their ends",
    )


def test_text__pairs_of_texts__the_longer_is_cut_first() -> None:
    frame = FRAME.assign(other=["x y z"] * 20, text=["a b c d e f g h"] * 20)
    data = _load(path=_save(frame), second="other", length=9)
    tokens = _words(data, 0)
    assert len(tokens) == 9
    assert (tokens[0], tokens[5]) == (2, 3)
    assert len(tokens[6:]) == 3
    assert "input_ids" in data.input_shape


def test_text__columns_by_name_and_without_a_header() -> None:
    _save(FRAME.rename(columns={"text": "what", "label": "is"}).assign(text="unused"))
    assert _load(text="what", label="is").class_names == ("neg", "pos")
    FRAME[["label", "text"]].to_csv("bare.csv", index=False, header=False)
    assert _load(path="bare.csv", header=["label", "text"]).targets.tolist() == [n % 2 for n in range(20)]


def test_text__usual_names_in_any_case() -> None:
    assert _load(path=_save(FRAME.rename(columns={"text": "Review", "label": "Sentiment"}))).num_classes == 2


def test_text__another_separator_and_encoding() -> None:
    frame = FRAME.assign(text=[f"schön, nummer {n}" for n in range(20)])
    frame.to_csv("my.csv", index=False, sep=";", encoding="latin-1")
    data = _load(separator=";", encoding="latin-1")
    frame.to_csv("utf.csv", index=False, encoding="utf-8-sig")
    assert data.fingerprint == _load(path="utf.csv").fingerprint


def test_text__words_like_NA_are_texts_and_labels() -> None:
    frame = FRAME.assign(label=["NA", "null"] * 10, text=["NA"] * 10 + ["None"] * 10)
    assert _load(path=_save(frame)).class_names == ("NA", "null")


@pytest.mark.parametrize(
    ("labels", "order"),
    [([1, 10, 2, 1, 10] * 4, ("1", "2", "10")), (["b", "a", "C", "b", "a"] * 4, ("C", "a", "b"))],
)
def test_text__the_order_of_the_classes(labels: list[Any], order: tuple[str, ...]) -> None:
    data = _load(path=_save(FRAME.assign(label=labels)))
    assert data.class_names == order
    assert data.targets.tolist() == [order.index(str(label)) for label in labels]


def test_text__an_order_of_the_users_own() -> None:
    data = _load(path=_save(), classes=["pos", "neg"])
    assert data.class_names == ("pos", "neg")
    assert data.targets.tolist() == [1 - n % 2 for n in range(20)]


@pytest.mark.parametrize("missing", ["", "-1"])
def test_text__rows_without_a_label(missing: str) -> None:
    labels = [missing if n < 6 else str(n % 2) for n in range(20)]
    data = _load(path=_save(FRAME.assign(label=labels)), test=4)
    assert data.num_classes == 2
    assert data.targets[:6].tolist() == [UNLABELLED] * 6
    assert (len(data.train), len(data.transfer), len(data.test)) == (10, 16, 4)


def test_text__hidden_labels_do_not_change_the_words() -> None:
    few, all_of_them = _load(path=_save(), labels=4), _load()
    assert (len(few.train), len(few.transfer)) == (4, 16)
    assert few.tokens == all_of_them.tokens


def test_text__parts_in_files_of_their_own() -> None:
    _save()
    _save(FRAME[:6], "test.csv")
    _save(FRAME[6:10], "val.csv")
    _save(FRAME[["text"]][:5], "more.csv")
    data = _load(test_path="test.csv", val_path="val.csv", unlabelled_path="more.csv")
    assert [len(part) for part in (data.train, data.transfer, data.validation, data.test)] == [20, 25, 4, 6]
    assert data.targets[data.test].tolist() == [0, 1, 0, 1, 0, 1]
    assert data.targets[-5:].tolist() == [UNLABELLED] * 5


def test_text__rows_without_a_text_are_left_out_if_asked() -> None:
    _save(FRAME.assign(text=["", " ", *FRAME.text[2:]]))
    _refused("dataset.path=my.csv: row 0 has no text .2 of 20 have none.; .*dataset.drop_empty=true")
    data = _load(drop_empty=True)
    assert len(data.targets) == 18
    assert data.told[0] == "dataset.path=my.csv: 2 rows have no text and are left out"


# Tokens are kept.


def test_text__is_tokenized_once(monkeypatch: pytest.MonkeyPatch) -> None:
    first = _load(path=_save())
    kept = [*token_cache.folder().iterdir()]
    monkeypatch.setattr("kd_lab.datasets.common.tokens.Vocabulary.__call__", None)
    assert len(kept) == 1
    assert _load().fingerprint == first.fingerprint
    with pytest.raises(TypeError, match="not callable"):
        _load(length=9)


def test_text__kept_tokens_that_are_damaged_are_made_again() -> None:
    first = _load(path=_save())
    (kept,) = token_cache.folder().iterdir()
    kept.write_bytes(kept.read_bytes()[:40])
    assert _load().fingerprint == first.fingerprint
    assert kept.stat().st_size > 40


def test_text__a_home_that_cannot_be_written_to_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("file").write_text("")
    monkeypatch.setenv("HOME", str(Path("file").absolute()))
    assert _load(path=_save()).num_classes == 2


# A tokenizer of Hugging Face.


def _tokenizer(folder: str = "tok", **more: int) -> str:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "good": 4, "bad": 5, "film": 6, **more}
    made = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(folder)
    return folder


def test_text__a_tokenizer_from_a_folder() -> None:
    pytest.importorskip("transformers")
    frame = FRAME.assign(text=["good film", "bad bad film of mine and of yours"] * 10)
    data = _load(path=_save(frame), tokenizer=_tokenizer(), length=8)
    assert _words(data, 0) == [2, 4, 6, 3]
    assert _words(data, 1) == [2, 5, 5, 6, 1, 1, 1, 3]
    assert data.tokens == (7, 0, "tok")
    assert data.told[0].endswith("7 tokens (tok); 20 texts, 10 longer than dataset.length=8 lose their ends")
    pairs = _load(path=_save(frame.assign(other="good")), tokenizer="tok", length=8, second="other")
    assert _words(pairs, 1) == [2, 5, 5, 6, 1, 3, 4, 3]


def test_text__another_tokenizer_in_the_same_folder_is_noticed() -> None:
    pytest.importorskip("transformers")
    first = _load(path=_save(), tokenizer=_tokenizer())
    assert _load(tokenizer=_tokenizer(number=7)).fingerprint != first.fingerprint


def test_text__no_such_tokenizer() -> None:
    pytest.importorskip("transformers")
    _save()
    _refused("dataset.tokenizer=no/such/folder: there is no tokenizer of that name", tokenizer="no/such/folder")


# A dataset of Hugging Face.


def test_text__a_dataset_of_hugging_face_from_a_folder() -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["pos", "neg"])})
    whole = datasets.Dataset.from_dict(
        {"text": FRAME.text.tolist(), "label": [n % 2 for n in range(20)]}, features=features
    )
    extra = datasets.Dataset.from_dict({"text": ["more of it"] * 3, "label": [-1] * 3}, features=features)
    parts = {"train": whole, "test": whole.select(range(4)), "unsupervised": extra}
    datasets.DatasetDict(parts).save_to_disk("reviews")

    data = Text(hub="reviews").load()

    assert data.class_names == ("pos", "neg")
    assert [len(part) for part in (data.train, data.transfer, data.test)] == [20, 23, 4]
    assert data.targets[:4].tolist() == [0, 1, 0, 1]


def test_text__a_folder_of_parquet_files() -> None:
    pytest.importorskip("datasets")
    Path("data").mkdir()
    FRAME.to_parquet("data/train.parquet")
    FRAME[:4].to_parquet("data/test.parquet")
    data = Text(hub="data").load()
    assert (len(data.train), len(data.test), data.class_names) == (20, 4, ("neg", "pos"))


def test_text__no_such_dataset() -> None:
    pytest.importorskip("datasets")
    with pytest.raises(UserError, match=r"^dataset\.hub=\./nothing: the datasets library cannot load it"):
        Text(hub="./nothing").load()


# What is refused.


def test_text__a_file_that_is_none() -> None:
    Path("empty.csv").write_text("")
    Path("head.csv").write_text("text,label\n")
    Path("my.docx").write_text("text")
    _refused("dataset.path=no.csv: cannot read the file .No such file", path="no.csv")
    _refused("dataset.path=empty.csv: the file is empty", path="empty.csv")
    _refused("dataset.path=head.csv: it holds no row", path="head.csv")
    _refused(r"dataset.path=my.docx: expected a file that ends in \.csv", path="my.docx")


def test_text__no_header() -> None:
    FRAME.to_csv("my.csv", index=False, header=False)
    _refused("dataset.path=my.csv: expected a column with the text, but it has bad film 0!, neg; .*dataset.header")


def test_text__the_wrong_separator() -> None:
    FRAME.to_csv("my.csv", index=False, sep=";")
    _refused(r"dataset.path=my.csv: its first line, text;label, is one column when cut at ','.*separator=.;")
    FRAME.assign(text="one, two, three").to_csv("more.csv", index=False, quoting=3, escapechar="\\", sep="\t")
    _refused("dataset.path=more.csv: .*dataset.separator", path="more.csv")


def test_text__more_values_than_names() -> None:
    Path("my.csv").write_text("text,label\ngood, very,pos\nbad, very,neg\n")
    _refused("dataset.path=my.csv: its lines hold more columns than the 2 that have names; put quotes")
    Path("my.csv").write_text("text,label\ngood,pos\nbad, very,neg\n")
    _refused("dataset.path=my.csv: cannot be read as a table .* .*Expected 2 fields in line 3, saw 3")


def test_text__a_column_that_is_missing() -> None:
    _save(FRAME.rename(columns={"label": "stars"}))
    _refused(
        "dataset.path=my.csv: expected a column with the label, but it has text, stars; name it by dataset.label=NAME"
    )
    _refused("dataset.path=my.csv: it has no column star .dataset.label.; did you mean stars", label="star")
    _refused("dataset.path=my.csv: text, text are read", label="text")


def test_text__not_utf_8() -> None:
    FRAME.assign(text="schön").to_csv("my.csv", index=False, encoding="latin-1")
    _refused("dataset.path=my.csv: line 2 is not utf-8; .*dataset.encoding=latin-1")
    Path("my.jsonl").write_bytes('{"text": "schön", "label": "a"}\n'.encode("latin-1"))
    _refused("dataset.path=my.jsonl: line 1 is not utf-8", path="my.jsonl")
    _refused("dataset.encoding=klingon: no such encoding", encoding="klingon")


def test_text__no_json_lines_and_no_parquet() -> None:
    Path("my.jsonl").write_text("text,label\n")
    Path("my.parquet").write_text("text,label\n")
    _refused("dataset.path=my.jsonl: cannot be read as JSON lines", path="my.jsonl")
    _refused("dataset.path=my.parquet: cannot be read as parquet", path="my.parquet")


def test_text__labels_that_are_no_classes() -> None:
    _save(FRAME.assign(label="pos"))
    _refused("dataset.path=my.csv: it holds only the class pos, expected at least 2 classes")
    _save(FRAME.assign(label=""))
    _refused("dataset.path=my.csv: it holds no label at all")
    _save(FRAME.assign(label=[f"name {n}" for n in range(20)]))
    _refused("dataset.path=my.csv: 20 labels hold 20 different values, such as name 0; expected classes")


def test_text__a_part_with_other_labels_or_none() -> None:
    _save()
    _save(FRAME.assign(label="neutral"), "test.csv")
    _refused(
        "dataset.test_path=test.csv: row 0 has the label neutral, which is no class of the training part; "
        "expected one of neg, pos",
        test_path="test.csv",
    )
    _save(FRAME.assign(label=""), "test.csv")
    _refused("dataset.test_path=test.csv: row 0 has no label, and this part is measured", test_path="test.csv")


def test_text__classes_that_are_not_there() -> None:
    _save()
    _refused("dataset.classes=.'pos', 'other'.: no row has the label other", classes=["pos", "other"])
    _refused("dataset.classes=.'pos'.: expected at least two", classes=["pos"])
    _refused(
        "dataset.path=my.csv: row 0 has the label neg",
        classes=["pos", "x"],
        path=_save(FRAME.assign(label=["neg", "x"] + ["pos", "x"] * 9)),
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"path": None}, "expected dataset.path=FILE .*, but got none of them"),
        ({"hub": "x"}, "but got dataset.hub=x beside files"),
        ({"length": 3}, "`length` to be at least 8, but got 3"),
        ({"vocabulary": 0}, "`vocabulary` to be at least 1, but got 0"),
        ({"test": 0}, "`test` to be > 0, but got 0"),
    ],
)
def test_text__settings_that_cannot_be(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Text(**({"path": "my.csv"} | settings))


def test_text__a_validation_part_twice() -> None:
    _save()
    _save(name="val.csv")
    _refused("dataset.validation=4: a validation part comes with the data", val_path="val.csv", validation=4)


def test_text__a_class_with_one_text() -> None:
    _save(FRAME.assign(label=["once", *FRAME.label[1:]]))
    _refused("dataset.path=my.csv: class 1 has only 1 labelled example, .*dataset.test_path=FILE")


def test_text__nothing_is_executed_that_a_file_holds() -> None:
    Path("my.jsonl").write_text(
        json.dumps({"text": {"a": 1}, "label": "x"}) + "\n" + json.dumps({"text": "b", "label": "y"})
    )
    _refused("dataset.path=my.jsonl: ", path="my.jsonl")
