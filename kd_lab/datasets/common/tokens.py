"""Texts as numbers of tokens: by a tokenizer of Hugging Face, or by a vocabulary of words of the training texts.

Legend: N texts, L tokens of the longest.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor

from kd_lab.errors import UserError
from kd_lab.inputs import IDS, MASK

PADDING, UNKNOWN, START = 0, 1, 2
"""The first numbers of a vocabulary of our own: of no token, of a word that it does not hold, before every text."""
BOUNDARY = 3
"""Between two texts of a sample; the words follow."""
WORDS = r"(?u)\w+|[^\w\s]"
"""A word, or a sign by itself."""

LARGEST_KEPT = 2**22
"""Characters of a tokenizer's file up to which it is kept with a network, as BERT's with 7 * 10**5 is."""

Analyzer = Literal["word", "char"]


class Encoded(NamedTuple):
    """Token numbers of each text, as long as it is, and how many texts were cut because they were longer."""

    tokens: list[list[int]]
    cut: int

    def padded(self, padding: int, length: int | None = None) -> dict[str, Tensor]:
        """Numbers [N, L] int64, the padding behind each text, and the mask [N, L] int64, 0 on the padding.

        length: L, where it is not that of the longest.
        """
        lengths = torch.tensor([len(one) for one in self.tokens])
        mask = torch.arange(length or int(lengths.max())) < lengths[:, None]
        numbers = torch.full(mask.shape, padding, dtype=torch.int64)
        numbers[mask] = torch.tensor([token for one in self.tokens for token in one])
        return {IDS: numbers, MASK: mask.to(torch.int64)}


class Tokenizer(Protocol):
    """What turns texts into numbers."""

    @property
    def name(self) -> str:
        """That of a tokenizer of Hugging Face, empty for a vocabulary of our own."""

    @property
    def identity(self) -> str:
        """All that its numbers follow from, beside the texts."""

    @property
    def size(self) -> int:
        """How many different tokens there are: numbers are below it."""

    @property
    def padding(self) -> int:
        """The number that fills up shorter texts."""

    @property
    def kept(self) -> dict[str, Any]:
        """What makes it again: the arguments of `kd_lab.datasets.common.readers.texts.Texts` for it."""

    def __call__(self, texts: Sequence[str], second: Sequence[str] | None, length: int) -> Encoded:
        """The numbers of each text, or pair of texts, at most `length` of them."""


@dataclass(frozen=True)
class Vocabulary:
    """The commonest words of some texts, or of Chinese and the like, its characters; scikit-learn counts and cuts them.

    words: each to its number, from 4 on.
    """

    words: dict[str, int]
    analyzer: Analyzer
    lowercase: bool
    name: str = ""
    padding: int = PADDING

    @classmethod
    def of(cls, texts: Sequence[str], most: int, analyzer: Analyzer, *, lowercase: bool) -> "Vocabulary":
        """That of the training texts.

        Raises:
            UserError: there is no word in them.
        """
        counter = _counter(analyzer, lowercase, most)
        try:
            counter.fit(texts)
        except ValueError as error:
            raise UserError("dataset=text: there is no word in the training texts; expected texts.") from error
        return cls.of_words(sorted(counter.vocabulary_, key=counter.vocabulary_.get), analyzer, lowercase=lowercase)

    @classmethod
    def of_words(cls, words: Sequence[str], analyzer: Analyzer, *, lowercase: bool) -> "Vocabulary":
        """That of words in the order of their numbers."""
        return cls({word: number for number, word in enumerate(words, start=BOUNDARY + 1)}, analyzer, lowercase)

    @property
    def identity(self) -> str:
        """See `Tokenizer`."""
        return repr((WORDS, self.analyzer, self.lowercase, self.words))

    @property
    def size(self) -> int:
        """See `Tokenizer`."""
        return len(self.words) + BOUNDARY + 1

    @property
    def kept(self) -> dict[str, Any]:
        """See `Tokenizer`: the words in the order of their numbers."""
        return {"words": [*self.words], "analyzer": self.analyzer, "lowercase": self.lowercase}

    @cached_property
    def _cut(self) -> Any:
        return _counter(self.analyzer, self.lowercase).build_analyzer()

    def __call__(self, texts: Sequence[str], second: Sequence[str] | None, length: int) -> Encoded:
        """See `Tokenizer`; of a pair the longer text is cut first."""
        found, cut = [], 0
        for place, text in enumerate(texts):
            one = self._numbers(text)
            other = [] if second is None else [BOUNDARY, *self._numbers(second[place])]
            too_many = max(1 + len(one) + len(other) - length, 0)
            cut += too_many > 0
            one, other = _shortened(one, other, too_many)
            found.append([START, *one, *other])
        return Encoded(found, cut)

    def _numbers(self, text: str) -> list[int]:
        return [self.words.get(word, UNKNOWN) for word in self._cut(text)]


def _shortened(one: list[int], other: list[int], by: int) -> tuple[list[int], list[int]]:
    """Both without so many at their ends, the longer one first, then in turn."""
    apart = len(one) - len(other)
    from_one = min(max(apart, 0), by)
    from_other = min(max(-apart, 0), by - from_one)
    left = by - from_one - from_other
    return one[: len(one) - from_one - (left + 1) // 2], other[: len(other) - from_other - left // 2]


def _counter(analyzer: Analyzer, lowercase: bool, most: int | None = None) -> Any:
    from sklearn.feature_extraction.text import CountVectorizer

    pattern = {"token_pattern": WORDS} if analyzer == "word" else {}
    return CountVectorizer(lowercase=lowercase, analyzer=analyzer, max_features=most, **pattern)


class Pretrained:
    """A tokenizer of Hugging Face, by its name or its folder.

    Raises:
        UserError: transformers is not installed, or there is no such tokenizer here or to download.
    """

    def __init__(self, name: str) -> None:
        try:
            from transformers import AutoTokenizer
        except ImportError as error:
            raise UserError(
                f"dataset.tokenizer={name}: needs transformers; pip install 'kd-lab[text]', or leave dataset.tokenizer "
                "away for a vocabulary of the training texts."
            ) from error
        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(name, use_fast=True)
        except Exception as error:  # whatever the library and what stands in the folder raise
            reason = " ".join(str(error).split())[:160]
            raise UserError(
                f"dataset.tokenizer={name}: there is no tokenizer of that name here or to download ({reason}); "
                "expected a folder with tokenizer.json, or a name of the hub while online."
            ) from error
        self._tokenizer.padding_side = self._tokenizer.truncation_side = "right"
        self.name = name

    @property
    def identity(self) -> str:
        """See `Tokenizer`: of a fast one the whole of its file, of another what it prints."""
        fast = getattr(self._tokenizer, "backend_tokenizer", None)
        return repr(self._tokenizer) if fast is None else str(fast.to_str())

    @property
    def size(self) -> int:
        """See `Tokenizer`."""
        return len(self._tokenizer)

    @property
    def padding(self) -> int:
        """See `Tokenizer`; 0 where it has none, which the mask hides."""
        return int(self._tokenizer.pad_token_id or 0)

    @property
    def kept(self) -> dict[str, Any]:
        """See `Tokenizer`: its file, or of one that is large or has none its name and what has to be found there."""
        file = self._file()
        return {"tokenizer": file} if 0 < len(file) <= LARGEST_KEPT else {"name": self.name, "sha256": self.sha256}

    @property
    def sha256(self) -> str:
        """Of all that its numbers follow from, hex."""
        return hashlib.sha256((self._file() or self.identity).encode()).hexdigest()

    def _file(self) -> str:
        """The text of its tokenizer.json, empty where it has none; without a length, which each call brings."""
        fast = getattr(self._tokenizer, "backend_tokenizer", None)
        if fast is None:
            return ""
        fast.no_truncation()
        fast.no_padding()
        return str(fast.to_str())

    def __call__(self, texts: Sequence[str], second: Sequence[str] | None, length: int) -> Encoded:
        """See `Tokenizer`."""
        pair = () if second is None else (list(second),)
        whole = self._tokenizer(
            list(texts), *pair, truncation=True, max_length=length, return_overflowing_tokens=True, verbose=False
        )
        return self._first(whole)

    @staticmethod
    def _first(whole: Any) -> Encoded:
        """Of each text what fits; what overflows only says that it was cut."""
        found: list[list[int]] = []
        cut: set[int] = set()
        samples = whole.get("overflow_to_sample_mapping", range(len(whole[IDS])))
        for place, tokens in zip(samples, whole[IDS], strict=True):
            if place == len(found):
                found.append(list(tokens))
            else:
                cut.add(place)
        return Encoded(found, len(cut))


class Serialized:
    """A tokenizer of Hugging Face out of the text of its tokenizer.json: numbers texts as `Pretrained` does.

    Raises:
        UserError: tokenizers is not installed, or the text is not what it writes.
    """

    def __init__(self, text: str) -> None:
        try:
            from tokenizers import Tokenizer as Fast
        except ImportError as error:
            raise UserError("the network's texts: need tokenizers; pip install 'kd-lab[text]'") from error
        try:
            self._tokenizer: Any = Fast.from_str(text)
        except Exception as error:  # the library knows no other
            reason = " ".join(str(error).split())[:160]
            raise UserError(
                f"the network's tokenizer cannot be read ({reason}); expected what tokenizers writes"
            ) from error
        self._tokenizer.no_padding()

    def __call__(self, texts: Sequence[str], second: Sequence[str] | None, length: int) -> Encoded:
        """See `Tokenizer`."""
        self._tokenizer.enable_truncation(length)
        given = list(texts) if second is None else list(zip(texts, second, strict=True))
        found = self._tokenizer.encode_batch(given)
        return Encoded([one.ids for one in found], sum(bool(one.overflowing) for one in found))
