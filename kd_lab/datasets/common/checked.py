"""Which pictures cannot be read: each is looked at once, and what was found is kept until a file changes."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from kd_lab.datasets.common.pictures import DAMAGE, decoded, in_threads
from kd_lab.outside.paths import put_whole

KEPT = "~/.cache/kd-lab/checked"
"""The folder; a file's name is the hash of what was looked at, and each line of it a name."""


def unreadable(folder: Path, names: Sequence[str]) -> list[str]:
    """Those of the files that are no picture, in their order. Decodes all of them, with all cores, the first time."""
    kept = Path(KEPT).expanduser() / _key(folder, names)
    if kept.is_file():
        return [name for name in kept.read_text(encoding="utf-8", errors="surrogateescape").split("\0") if name]
    damaged = [
        name
        for name, is_fine in zip(names, in_threads(_is_fine, [folder / n for n in names]), strict=True)
        if not is_fine
    ]
    content = "\0".join(damaged)
    put_whole(kept, lambda file: file.write_text(content, encoding="utf-8", errors="surrogateescape"))
    return damaged


def _is_fine(file: Path) -> bool:
    try:
        decoded(file)
    except DAMAGE:
        return False
    return True


def _key(folder: Path, names: Sequence[str]) -> str:
    """Where the files are, how large, and when they were last written."""
    digest = hashlib.sha256(os.fsencode(folder.resolve()))
    for name in names:
        stamp = (folder / name).stat()
        digest.update(os.fsencode(f"{name}\0{stamp.st_size} {stamp.st_mtime_ns}\n"))
    return digest.hexdigest()
