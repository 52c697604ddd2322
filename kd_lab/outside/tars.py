"""Members of a .tar.gz, read one by one: nothing is unpacked to disk, whatever their names say."""

import gzip
import io
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from kd_lab.outside.archives import GIB
from kd_lab.outside.memory import check_memory
from kd_lab.outside.text import in_bytes

DAMAGE = (OSError, EOFError, ValueError, zlib.error, tarfile.TarError)
MOST_BYTES = GIB
"""That are unpacked of one archive, members that nobody asked for included."""


def read_members(archive: Path, wanted: Iterable[str], source: str) -> Iterator[tuple[str, bytes]]:
    """The wanted members, in the order of the archive.

    Args:
        archive: the file.
        wanted: their names, with slashes.
        source: the beginning of a message.

    Yields:
        Name and content of each.

    Raises:
        UserError: one declares more than the memory takes.
        ValueError: a member is missing or no file, or all of them unpack to more than `MOST_BYTES`.
        OSError, EOFError, zlib.error, tarfile.TarError: the archive is damaged.
    """
    left = set(wanted)
    with gzip.open(archive) as packed, tarfile.open(fileobj=_Limited(packed), mode="r|") as tar:
        for member in tar:
            name = member.name.removeprefix("./")
            if name not in left:
                continue
            stream = tar.extractfile(member) if member.isreg() and not member.issparse() else None
            if stream is None:
                raise ValueError(f"{name} in it is no file")
            check_memory(member.size, source)
            left.remove(name)
            yield name, stream.read()
            if not left:
                return
    raise ValueError(f"it holds no {min(left)}")


class _Limited(io.BufferedIOBase):
    """What comes out of gzip, up to a limit: 1 byte may become 1032, and a header may ask for all of it at once."""

    def __init__(self, stream: gzip.GzipFile) -> None:
        self._stream, self._left = stream, MOST_BYTES

    def read(self, size: int | None = -1, /) -> bytes:
        """As of any file; tarfile asks for 10 KiB at a time."""
        raw = self._stream.read(size)
        self._left -= len(raw)
        if self._left < 0:
            raise ValueError(f"it unpacks to more than {in_bytes(MOST_BYTES)}")
        return raw
