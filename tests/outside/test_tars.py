import gzip
import io
import tarfile
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from kd_lab.errors import UserError
from kd_lab.outside import tars
from kd_lab.outside.tars import DAMAGE, read_members

CONTENT = bytes(range(256)) * 400


def _write(file: Path, *members: tuple[str, bytes, bytes], end: str = "") -> Path:
    with tarfile.open(file, "w:gz") as tar:
        for name, kind, content in members:
            member = tarfile.TarInfo(name)
            member.type, member.linkname, member.size = kind, end, len(content)
            tar.addfile(member, io.BytesIO(content))
    return file


def _read(file: Path, *wanted: str) -> dict[str, bytes]:
    return dict(read_members(file, wanted, "dataset.path=x"))


@pytest.mark.parametrize("start", ["", "./"])
def test_read_members__those_that_are_wanted_and_nothing_on_disk(tmp_path: Path, start: str) -> None:
    others = [("../outside", tarfile.REGTYPE, b"x"), ("/tmp/absolute", tarfile.REGTYPE, b"x")]
    wanted = [(f"{start}a/one", tarfile.REGTYPE, CONTENT), (f"{start}a/two", tarfile.REGTYPE, b"")]
    file = _write(tmp_path / "x.tar.gz", *others, *wanted)
    assert _read(file, "a/two", "a/one") == {"a/one": CONTENT, "a/two": b""}
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_read_members__a_member_that_is_no_file(tmp_path: Path, kind: bytes) -> None:
    (tmp_path / "secret").write_text("x")
    file = _write(tmp_path / "x.tar.gz", ("a/one", kind, b""), end=str(tmp_path / "secret"))
    with pytest.raises(ValueError, match=r"^a/one in it is no file$"):
        _read(file, "a/one")


def test_read_members__one_is_missing(tmp_path: Path) -> None:
    file = _write(tmp_path / "x.tar.gz", ("a/one", tarfile.REGTYPE, b"x"))
    with pytest.raises(ValueError, match=r"^it holds no a/two$"):
        _read(file, "a/one", "a/two")


def test_read_members__truncated(tmp_path: Path) -> None:
    file = _write(tmp_path / "x.tar.gz", ("a/one", tarfile.REGTYPE, CONTENT))
    half = gzip.compress(gzip.decompress(file.read_bytes())[:50_000])
    for raw in (file.read_bytes()[:-200], half, b"", b"no archive"):
        file.write_bytes(raw)
        with pytest.raises(DAMAGE):
            _read(file, "a/one")


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.XHDTYPE])
def test_read_members__a_bomb_before_what_is_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: bytes
) -> None:
    monkeypatch.setattr(tars, "MOST_BYTES", 2**20)
    file = _write(tmp_path / "x.tar.gz", ("junk", kind, bytes(2**21)), ("a/one", tarfile.REGTYPE, b"x"))
    with pytest.raises(ValueError, match=r"^it unpacks to more than 1\.05 MB$"):
        _read(file, "a/one")


def test_read_members__more_than_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = _write(tmp_path / "x.tar.gz", ("a/one", tarfile.REGTYPE, CONTENT))
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=2**10))
    with pytest.raises(UserError, match=r"^dataset\.path=x: declares 102 KB, expected at most the 1\.02 KB"):
        _read(file, "a/one")
