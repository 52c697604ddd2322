"""Texts out of files like those of `dataset=text`, as the tokens that a network learned from.

Legend: B batch, L tokens of the longest text that was learned from.
"""

import logging
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from torch import Tensor

from kd_lab.datasets.common.text_files import Reading, frames, words
from kd_lab.datasets.common.tokens import UNKNOWN, Analyzer, Encoded, Pretrained, Serialized, Tokenizer, Vocabulary
from kd_lab.errors import UserError, choices
from kd_lab.inputs import IDS
from kd_lab.outside.nodes import node_of
from kd_lab.types import Read

if TYPE_CHECKING:
    from pandas import DataFrame

_logger = logging.getLogger(__name__)


class Texts:
    """Reads rows with a text, or two, to tokens `input_ids` [B, L] and `attention_mask` [B, L].

    A word that a vocabulary lacks counts as unknown, and a text of more than L tokens loses its end, as in training;
    how many there are is told when a file has been read.

    Args:
        text: the column of the texts.
        second: that of the second texts, of pairs.
        separator: see `kd_lab.datasets.text.Text`, as the next two.
        header: the names of all columns, where the first line has none.
        encoding: of .csv, .tsv and .jsonl.
        input_shape: of texts as tokens.
        padding: the number behind shorter texts.
        words: of a vocabulary of our own, in the order of their numbers.
        analyzer: what these are.
        lowercase: whether they are in small letters.
        tokenizer: in their place the text of a tokenizer.json of Hugging Face.
        name: or the name or folder of such a tokenizer.
        sha256: and what has to be found there.

    Raises:
        ValueError: the shape is not that of texts.
    """

    def __init__(
        self,
        *,
        text: str,
        second: str | None,
        separator: str | None,
        header: list[str] | None,
        encoding: str,
        input_shape: Any,
        padding: int,
        words: list[str] | None = None,
        analyzer: Analyzer = "word",
        lowercase: bool = True,
        tokenizer: str | None = None,
        name: str = "",
        sha256: str = "",
    ) -> None:
        if not isinstance(input_shape, Mapping) or IDS not in input_shape:
            raise ValueError(f"Expected `input_shape` to be that of texts as tokens, but got {input_shape}.")
        self._files: dict[str, Any] = {
            "text": text,
            "second": second,
            "separator": separator,
            "header": header,
            "encoding": encoding,
        }
        own = {"words": words, "analyzer": analyzer, "lowercase": lowercase}
        self._made: dict[str, Any] = own if words is not None else {"tokenizer": tokenizer}
        self._made = {"name": name, "sha256": sha256} if name else self._made
        self._length, self._padding = int(input_shape[IDS][0]), padding

    @property
    def node(self) -> dict[str, Any]:
        """See `kd_lab.types.Reader`; the shape and the padding are kept beside it."""
        return node_of(self, **self._files, **self._made)

    @property
    def meaning(self) -> object:
        """What makes tokens, wherever it lies."""
        return {key: value for key, value in self._made.items() if key != "name"}

    @cached_property
    def _tokenizer(self) -> Tokenizer | Serialized:
        made = self._made
        if "words" in made:
            return Vocabulary.of_words(made["words"], made["analyzer"], lowercase=made["lowercase"])
        if "tokenizer" in made:
            return Serialized(made["tokenizer"])
        found = Pretrained(made["name"])
        if found.sha256 != made["sha256"]:
            raise UserError(
                f"the network's tokenizer {made['name']}: is another one here than the network learned with; expected "
                "the folder or the version of then"
            )
        return found

    def batches(self, path: str, size: int) -> Iterator[Read]:
        """See `kd_lab.types.Reader`.

        Raises:
            UserError: the file cannot be read or holds no row, a column is not there, a row has no text.
        """
        files = self._files
        reading = Reading(files["separator"], files["header"], files["encoding"])
        count, cut, unknown = 0, 0, 0
        for frame in frames(path, path, reading, size):
            if len(frame):
                encoded = self._encoded(frame, path, count)
                count, cut, unknown = count + len(frame), cut + encoded.cut, unknown + self._unknown(encoded)
                yield Read(self._padded(encoded))
        if not count:
            raise UserError(f"{path}: it holds no row; expected texts in a column {files['text']}.")
        if unknown:
            _logger.warning(
                "%s: %s words are none that the network learned, and count as unknown.", path, f"{unknown:,}"
            )
        if cut:
            _logger.warning("%s: %s texts of more than %s tokens lose their ends.", path, f"{cut:,}", self._length)

    def of_frame(self, frame: "DataFrame", setting: str) -> Mapping[str, Tensor]:
        """The tokens of a table's rows, and of each text of a row that holds a list of them, as MLflow makes one.

        Raises:
            UserError: a column is not there, or a row has no text; the message starts with the setting.
        """
        there = [name for name in self.columns if name in frame.columns]
        return self._padded(self._encoded(frame.explode(there, ignore_index=True) if there else frame, setting, 0))

    @property
    def columns(self) -> list[str]:
        """Of the texts."""
        return [self._files[one] for one in ("text", "second") if self._files[one] is not None]

    def _encoded(self, frame: "DataFrame", setting: str, start: int) -> Encoded:
        names = [str(name) for name in frame.columns]
        frame = frame.set_axis(names, axis=1)
        missing = next((name for name in self.columns if name not in names), None)
        if missing is not None:
            raise UserError(f"{setting}: no column {missing}; {choices(missing, names[:20])}")
        texts, *second = (words(frame[name]) for name in self.columns)
        empty = next((row for column in (texts, *second) for row, text in enumerate(column) if not text), None)
        if empty is not None:
            raise UserError(f"{setting}: row {start + empty} has no text; fill it in, or take the row away.")
        return self._tokenizer(texts, second[0] if second else None, self._length)

    def _padded(self, encoded: Encoded) -> Mapping[str, Tensor]:
        return encoded.padded(self._padding, self._length)

    def _unknown(self, encoded: Encoded) -> int:
        """How many words a vocabulary of our own lacks."""
        known = "words" in self._made
        return sum(tokens.count(UNKNOWN) for tokens in encoded.tokens) if known else 0
