"""Texts are tokenized once: their numbers lie in a folder of the user's, found by texts, tokenizer and length."""

import hashlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from kd_lab.datasets.common.tokens import Encoded, Tokenizer
from kd_lab.outside.paths import put_whole

_FLAT, _LENGTHS, _CUT = "tokens", "lengths", "cut"


def tokenized(tokenizer: Tokenizer, texts: Sequence[str], second: Sequence[str] | None, length: int) -> Encoded:
    """What the tokenizer makes of the texts: read where it was kept, else kept for the next time.

    A folder that cannot be written to costs nothing but the time.

    Args:
        tokenizer: its `identity` says all that its numbers follow from.
        texts: of each sample.
        second: of pairs.
        length: at most so many tokens of each.
    """
    file = folder() / f"{_key(tokenizer.identity, texts, second, length)}.safetensors"
    kept = _read(file)
    if kept is None:
        kept = tokenizer(texts, second, length)
        _write(file, kept)
    return kept


def folder() -> Path:
    """Where they lie; may be deleted whenever nothing runs."""
    return Path.home() / ".cache" / "kd-lab" / "tokens"


def _key(identity: str, texts: Sequence[str], second: Sequence[str] | None, length: int) -> str:
    digest = hashlib.sha256(f"{length};{identity}".encode())
    for column in (texts, second or ()):
        digest.update(f";{len(column)};".encode())
        for text in column:
            digest.update(text.encode("utf-8", "surrogatepass") + b"\x00")
    return digest.hexdigest()


def _read(file: Path) -> Encoded | None:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        kept = load_file(file)
        lengths: list[int] = kept[_LENGTHS].tolist()
        parts: tuple[Tensor, ...] = torch.split(kept[_FLAT], lengths)
        return Encoded([part.tolist() for part in parts], int(kept[_CUT]))
    except (OSError, KeyError, RuntimeError, SafetensorError):
        return None


def _write(file: Path, encoded: Encoded) -> None:
    from safetensors.torch import save_file

    flat = torch.tensor([token for one in encoded.tokens for token in one], dtype=torch.int32)
    lengths = torch.tensor([len(one) for one in encoded.tokens])
    put_whole(file, partial(save_file, {_FLAT: flat, _LENGTHS: lengths, _CUT: torch.tensor(encoded.cut)}))
