"""The user's own texts with a class each: a file that pandas reads, or a dataset of Hugging Face."""

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from kd_lab.datasets.common.classes import listed_classes
from kd_lab.datasets.common.held_out import Wanted, check_test, cut_test
from kd_lab.datasets.common.readers.texts import Texts
from kd_lab.datasets.common.splits import Parts, SplitSettings, assemble, cut
from kd_lab.datasets.common.text_files import Columns, Reading, read_rows
from kd_lab.datasets.common.text_hub import read_splits
from kd_lab.datasets.common.text_parts import (
    ORDER,
    TEST,
    TRAIN,
    UNLABELLED_PART,
    VALIDATION,
    Part,
    all_targets,
    class_order,
    without_empty,
)
from kd_lab.datasets.common.token_cache import tokenized
from kd_lab.datasets.common.tokens import Analyzer, Encoded, Pretrained, Tokenizer, Vocabulary
from kd_lab.errors import UserError
from kd_lab.inputs import IDS, MASK
from kd_lab.types import Data, Tokens

SHORTEST = 8
"""So many tokens at the least: what a tokenizer puts around and between texts, and some of their own."""


class Text:
    """Texts and their classes; a label that is empty or -1 is none, and only a student that is distilled sees such.

    A network is given `input_ids` [B, L] and `attention_mask` [B, L], 0 on the padding behind a text; L: the tokens of
    the longest text, at most `length`.
    """

    def __init__(
        self,
        *,
        path: str | None = None,
        hub: str | None = None,
        subset: str | None = None,
        test_path: str | None = None,
        val_path: str | None = None,
        unlabelled_path: str | None = None,
        text: str | None = None,
        label: str | None = None,
        second: str | None = None,
        classes: list[str] | None = None,
        separator: str | None = None,
        header: list[str] | None = None,
        encoding: str = "utf-8",
        drop_empty: bool = False,
        tokenizer: str | None = None,
        vocabulary: int = 20000,
        analyzer: Analyzer = "word",
        lowercase: bool = True,
        length: int = 256,
        labels: int | None = None,
        validation: int | float = 0,
        test: int | float = 0.2,
        seed: int = 0,
    ) -> None:
        """Checks the settings, reads nothing.

        Args:
            path: a file .csv, .tsv, .txt (as .csv), .jsonl or .parquet.
            hub: in its place a dataset of Hugging Face, by name or folder; its splits are the parts.
            subset: of `hub`, where it has several.
            test_path: a file with the test part; None cuts it from the rows.
            val_path: the same for validation.
            unlabelled_path: a file with more texts; a column of labels in it is not read.
            text: the column of the texts; None: the one with a usual name.
            label: the column of the labels, likewise.
            second: the column of the second texts, of pairs.
            classes: all labels, in the order of their numbers; None: by value where all are numbers, else by name.
            separator: between the values of a line; None: a comma, a tab in .tsv.
            header: the names of all columns, where the first line has none.
            encoding: of .csv, .tsv and .jsonl.
            drop_empty: leave out rows without a text.
            tokenizer: one of Hugging Face, by name or folder; None: words of the training texts.
            vocabulary: at most so many words, the commonest.
            analyzer: what these are: word, or char for languages that write no spaces.
            lowercase: whether they are in small letters.
            length: at most so many tokens of a text, with those before, between and after that a tokenizer adds.
            labels: how many labels are kept, stratified; None keeps all.
            validation: a number of labelled texts, or a fraction of those not in the test, rounded up; not where a
                validation part comes with the data.
            test: a number of labelled texts or a fraction of them, rounded up; not used where a test part comes.
            seed: fixes the parts.

        Raises:
            ValueError: a value that no dataset can meet.
        """
        self._settings = SplitSettings(labels, validation, seed)
        check_test(test)
        if length < SHORTEST:
            raise ValueError(f"Expected `length` to be at least {SHORTEST}, but got {length}.")
        if vocabulary < 1:
            raise ValueError(f"Expected `vocabulary` to be at least 1, but got {vocabulary}.")
        files = {TRAIN: path, TEST: test_path, VALIDATION: val_path, UNLABELLED_PART: unlabelled_path}
        self._files = {part: file for part, file in files.items() if file is not None}
        if (hub is None) == (path is None) or (hub is not None and self._files):
            came = f"dataset.hub={hub} beside files" if hub is not None else "none of them"
            raise UserError(
                "dataset=text: expected dataset.path=FILE of texts and labels, or dataset.hub=NAME, which brings all "
                f"its parts, but got {came}."
            )
        self._hub, self._subset, self._columns = hub, subset, Columns(text, label, second)
        self._reading, self._drop_empty = Reading(separator, header, encoding), drop_empty
        self._classes, self._tokenizer, self._length, self._test = classes, tokenizer, length, test
        self._vocabulary, self._analyzer, self._lowercase = vocabulary, analyzer, lowercase

    def load(self) -> Data:
        """Reads the files, cuts the rows into parts and the texts into tokens.

        Raises:
            UserError: a file or its content is not as described, or the settings ask for more than it holds.
        """
        parts, told = {}, []
        for name, part in self._read().items():
            parts[name], dropped = without_empty(part, drop=self._drop_empty)
            told += [f"{part.setting}: {dropped:,} rows have no text and are left out"] if dropped else []
        names = class_order(parts[TRAIN], self._classes)
        targets, rows = self._cut(all_targets(parts, names), parts[TRAIN].setting, len(names))
        there = [parts[name].rows for name in ORDER if name in parts]
        texts = [text for part in there for text in part.texts]
        second = None if self._columns.second is None else [text for part in there for text in part.second or ()]
        tokenizer = self._made(texts, second, rows.transfer)
        encoded = tokenized(tokenizer, texts, second, self._length)
        inputs = encoded.padded(tokenizer.padding)
        data = assemble("text", inputs, targets, rows, num_classes=len(names), augment=None)
        tokens = Tokens(tokenizer.size, tokenizer.padding, tokenizer.name)
        told.append(self._told(encoded, tokenizer, names))
        reader = self._reader(parts[TRAIN].rows.columns, tokenizer, inputs[IDS].shape[1])
        return replace(data, told=tuple(told), class_names=names, tokens=tokens, reader=reader)

    def _read(self) -> dict[str, Part]:
        """What is there, by name."""
        if self._hub is not None:
            return read_splits(self._hub, self._subset, self._columns)
        keys = {TRAIN: "path", TEST: "test_path", VALIDATION: "val_path", UNLABELLED_PART: "unlabelled_path"}
        found = {}
        for name, file in self._files.items():
            setting = f"dataset.{keys[name]}={file}"
            labelled = name != UNLABELLED_PART
            found[name] = Part(read_rows(file, setting, self._columns, self._reading, labelled=labelled), setting)
        return found

    def _cut(self, targets: dict[str, Tensor], setting: str, num_classes: int) -> tuple[Tensor, Parts]:
        """All targets with those that are hidden, and the parts; each part's rows follow one another."""
        whole = torch.cat([*targets.values()])
        rows = torch.split(torch.arange(len(whole)), [len(one) for one in targets.values()])
        given = dict(zip(targets, rows, strict=True))
        if VALIDATION in given and self._settings.validation:
            raise UserError(
                f"dataset.validation={self._settings.validation}: a validation part comes with the data, leave it away."
            )
        if TEST in given:
            pool, test = given[TRAIN], given[TEST]
        else:
            wanted = Wanted(self._test, self._settings.seed, setting, "dataset.test_path=FILE")
            pool, test = cut_test(whole, given[TRAIN], num_classes, wanted)
        pool = torch.cat([pool, given.get(UNLABELLED_PART, pool[:0])])
        whole, parts = cut(whole, pool, test, num_classes, self._settings)
        return whole, replace(parts, validation=given[VALIDATION]) if VALIDATION in given else parts

    def _made(self, texts: list[str], second: list[str] | None, transfer: Tensor) -> Tokenizer:
        """The tokenizer; words of our own are those of the training texts, labelled or not."""
        if self._tokenizer is not None:
            return Pretrained(self._tokenizer)
        columns = [texts] if second is None else [texts, second]
        seen = [column[row] for column in columns for row in transfer.tolist()]
        return Vocabulary.of(seen, self._vocabulary, self._analyzer, lowercase=self._lowercase)

    def _reader(self, columns: Columns, tokenizer: Tokenizer, length: int) -> Texts:
        return Texts(
            text=str(columns.text),
            second=columns.second,
            **self._reading._asdict(),
            input_shape={IDS: (length,), MASK: (length,)},
            padding=tokenizer.padding,
            **tokenizer.kept,
        )

    def _told(self, encoded: Encoded, tokenizer: Tokenizer, names: tuple[str, ...]) -> str:
        made = Path(tokenizer.name).name if tokenizer.name else "words of the training texts"
        cut = "" if not encoded.cut else f", {encoded.cut:,} longer than dataset.length={self._length} lose their ends"
        return f"text: {listed_classes(names)}; {tokenizer.size:,} tokens ({made}); {len(encoded.tokens):,} texts{cut}"
