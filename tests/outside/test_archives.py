"""Files that declare more than they hold: small on disk, judged before they are unpacked."""

import io
import struct
import tracemalloc
import warnings
import zipfile
import zlib
from types import SimpleNamespace

import numpy as np
import psutil
import pytest

from kd_lab.errors import UserError
from kd_lab.outside import archives
from kd_lab.outside.archives import check_zip, read_npy, read_npz

MIB = 2**20
SIZE_IN_DIRECTORY, SIZE_IN_HEADER = 24, 22
CRC_IN_DIRECTORY, CRC_IN_HEADER = 16, 14
FLAGS_IN_DIRECTORY = 8


@pytest.fixture
def file(tmp_path):
    return tmp_path / "my.npz"


@pytest.fixture
def unread(monkeypatch):
    """No member may be opened to be read."""
    before = zipfile.ZipFile.open

    def checked(self, name, mode="r", *args, **kwargs):
        assert mode == "w", "a member was opened"
        return before(self, name, mode, *args, **kwargs)

    monkeypatch.setattr(zipfile.ZipFile, "open", checked)


def npy(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def header(shape, descr="|u1", version=(1, 0)):
    stream = io.BytesIO()
    write = np.lib.format.write_array_header_1_0 if version == (1, 0) else np.lib.format.write_array_header_2_0
    write(stream, {"descr": descr, "fortran_order": False, "shape": shape})
    return stream.getvalue()


def packed(method, **members):
    """A zip of these bytes."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return bytearray(stream.getvalue())


def declare(whole, size, content=None):
    """The zip of one member, which declares another size; its checksum is that of the first `size` bytes of content."""
    directory = whole.rindex(b"PK\x01\x02")
    struct.pack_into("<I", whole, directory + SIZE_IN_DIRECTORY, size)
    struct.pack_into("<I", whole, SIZE_IN_HEADER, size)
    if content is not None:
        crc = zlib.crc32(content[:size])
        struct.pack_into("<I", whole, directory + CRC_IN_DIRECTORY, crc)
        struct.pack_into("<I", whole, CRC_IN_HEADER, crc)
    return whole


def peak_of(act):
    """The most bytes that it took."""
    tracemalloc.start()
    try:
        act()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def refused(message, act):
    """It refuses with that sentence, and takes next to nothing."""

    def told_so():
        with pytest.raises(UserError, match=message) as caught:
            act()
        assert "\n" not in str(caught.value)

    assert peak_of(told_so) < 8 * MIB


# What is declared.


def test_read_npz__declares_more_than_a_gib_and_a_hundred_times_its_size(file, unread):
    file.write_bytes(declare(packed(zipfile.ZIP_DEFLATED, X=npy(np.zeros(10_000))), 3 * 2**30))
    refused(
        r"^my: declares 3\.2 GB in a file of \d+ bytes, expected at most 100 times its size; if it is yours, save it "
        r"uncompressed, with numpy\.savez\.$",
        lambda: read_npz(file, "my", ["X"]),
    )


def test_read_npz__declares_much_together(file, unread, monkeypatch):
    """Each is below the limit, the sum is not; members may lie over each other."""
    monkeypatch.setattr(archives, "LARGE_BYTES", 3 * MIB)
    zeros = npy(np.zeros(2 * MIB, np.uint8))
    file.write_bytes(packed(zipfile.ZIP_DEFLATED, X=zeros, y=zeros))
    refused(r"^my: declares 4\.\d+ MB in a file of 4\.\d+ KB", lambda: read_npz(file, "my", ["X", "y"]))


def test_read_npz__what_is_not_wanted_counts_nothing(file):
    small = npy(np.arange(3))
    whole = packed(zipfile.ZIP_DEFLATED, X=small, big=npy(np.zeros(10_000)))
    directory = whole.rindex(b"PK\x01\x02")
    struct.pack_into("<I", whole, directory + SIZE_IN_DIRECTORY, 3 * 2**30)
    file.write_bytes(whole)
    arrays, names = read_npz(file, "my", ["X", "y"])
    assert arrays["X"].tolist() == [0, 1, 2]
    assert (list(arrays), names) == (["X"], ["X", "big"])


def test_read_npz__honest_compression_below_the_limits(file, monkeypatch):
    monkeypatch.setattr(archives, "LARGE_BYTES", MIB)
    noise = np.random.default_rng(0).integers(0, 4, 2 * MIB, np.uint8)
    np.savez_compressed(file, X=noise)
    assert np.array_equal(read_npz(file, "my", ["X"])[0]["X"], noise)


def test_read_npz__zeros_of_a_small_file(file):
    np.savez_compressed(file, X=np.zeros(4 * MIB, np.uint8))
    assert read_npz(file, "my", ["X"])[0]["X"].nbytes == 4 * MIB


def test_check_zip__of_a_program_that_never_compresses(file):
    file.write_bytes(packed(zipfile.ZIP_DEFLATED, X=npy(np.zeros(10_000))))
    check_zip(file, "my")
    refused(
        r"^my: declares 80\.1 KB in a file of \d+ bytes, expected one that is not compressed; save it again\.$",
        lambda: check_zip(file, "my", stored=True),
    )
    file.write_bytes(packed(zipfile.ZIP_STORED, X=npy(np.zeros(10_000))))
    check_zip(file, "my", stored=True)


def test_check_zip__no_zip(file):
    file.write_bytes(b"PK\x03\x04 and nothing else")
    with pytest.raises(zipfile.BadZipFile, match="not a zip file"):
        check_zip(file, "my")


def test_read_npz__more_than_the_memory(file, unread, monkeypatch):
    np.savez(file, X=np.zeros(1000), y=np.zeros(1000))
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=9_000))
    refused(
        r"^my: declares 16\.3 KB, expected at most the 9 KB of memory that are available; choose a smaller file",
        lambda: read_npz(file, "my", ["X", "y"]),
    )


def test_read_npy__more_than_the_memory(file, monkeypatch):
    file.write_bytes(npy(np.zeros(1000)))
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=8_000))
    refused(r"^my: declares 8\.13 KB, expected at most the 8 KB of memory", lambda: read_npy(file, "my", "X"))


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_read_npz__methods_that_zipfile_unpacks_without_a_limit(file, method):
    content = npy(np.zeros(32 * MIB, np.uint8))
    file.write_bytes(declare(packed(method, X=content), 1000, content))
    refused(
        r"^my: is encrypted or packed by another method than deflate, expected neither; save it again\.$",
        lambda: read_npz(file, "my", ["X"]),
    )


def test_read_npz__encrypted(file):
    whole = packed(zipfile.ZIP_STORED, X=npy(np.zeros(10)))
    whole[whole.rindex(b"PK\x01\x02") + FLAGS_IN_DIRECTORY] |= 1
    file.write_bytes(whole)
    refused(r"^my: is encrypted", lambda: read_npz(file, "my", ["X"]))


# What is there.


def test_read_npz__a_member_that_goes_on_after_its_declared_end(file):
    """The header agrees with the directory; 32 MiB follow."""
    content = header((100,)) + bytes(32 * MIB)
    file.write_bytes(declare(packed(zipfile.ZIP_DEFLATED, X=content), len(header((100,))) + 100, content))
    found = []
    assert peak_of(lambda: found.append(read_npz(file, "my", ["X"])[0]["X"])) < 8 * MIB
    assert found[0].shape == (100,)


def test_read_npz__a_member_that_is_no_array_is_not_unpacked(file):
    content = bytes(32 * MIB)
    file.write_bytes(packed(zipfile.ZIP_DEFLATED, X=content))
    refused(r"^my: X is not a NumPy array", lambda: read_npz(file, "my", ["X"]))


@pytest.mark.parametrize("shape", [(2**33,), (99,), (101,), (10, 11), (-1,), (2**62, 2**62), ()])
def test_read_npz__header_of_another_size(file, shape):
    file.write_bytes(packed(zipfile.ZIP_STORED, X=header(shape) + bytes(100)))
    refused(
        rf"^my: X is truncated or damaged \(its header declares {np.prod([*map(int, shape)], dtype=object):,} bytes, "
        r"100 are there\), save it again\.$",
        lambda: read_npz(file, "my", ["X"]),
    )


@pytest.mark.parametrize("there", [0, 799, 801])
def test_read_npy__header_of_another_size(file, there):
    file.write_bytes(header((100,), "<f8") + bytes(there))
    refused(
        rf"^my: X is truncated or damaged \(its header declares 800 bytes, {there} are there\)",
        lambda: read_npy(file, "my", "X"),
    )


def test_read_npy__a_header_without_end_is_not_read(file):
    with file.open("wb") as stream:
        stream.write(b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**28))
        stream.truncate(2**28 + 12)  # a hole: no bytes on disk
    refused(r"^my: X is truncated or damaged \(EOF: reading array header", lambda: read_npy(file, "my", "X"))


@pytest.mark.parametrize(
    "text",
    [
        b"{'descr'",  # TokenError
        b"{1: 2, 'a': 3}",  # TypeError
        b"{'descr': '<f8', 'fortran_order': False, 'shape': (0, 10000000000000000000000000)}",  # OverflowError
    ],
)
def test_read_npy__header_that_numpy_stumbles_over(file, text):
    file.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Python's parser, and of NumPy on headers written by Python 2
        with pytest.raises(UserError, match=r"^my: X is truncated or damaged \("):
            read_npy(file, "my", "X")


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_read_npy__every_version_of_the_format(file, version):
    kind = [("\u03b1" if version == (3, 0) else "a", "<f4")]
    with file.open("wb") as stream:
        np.lib.format.write_array(stream, np.ones(5, kind), version)
    assert read_npy(file, "my", "X").tolist() == [(1.0,)] * 5


@pytest.mark.parametrize(
    "array", [np.array(3), np.zeros((0, 4)), np.asfortranarray(np.arange(6).reshape(2, 3)), np.array(["a", "bc"])]
)
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_read_npz__every_array_comes_back(file, array, save):
    save(file, X=array)
    assert np.array_equal(read_npz(file, "my", ["X"])[0]["X"], array)


def test_read_npz__objects_are_named_as_such(file):
    np.savez(file, X=np.array([{}], dtype=object))
    refused(r"^my: X holds Python objects, which are never loaded", lambda: read_npz(file, "my", ["X"]))


def test_read_npz__a_folder(tmp_path):
    refused(r"^my: the file is truncated or damaged \(.*Is a directory", lambda: read_npz(tmp_path, "my", ["X"]))


@pytest.mark.parametrize("keep", [0, 3, 100, 0.5, 0.99])
def test_read_npz__cut_short(file, keep):
    whole = packed(zipfile.ZIP_STORED, X=npy(np.zeros(1000)))
    file.write_bytes(whole[: int(keep * len(whole)) if isinstance(keep, float) else keep])
    refused(
        r"^my: the file is truncated or damaged \(.*\), copy it\.$", lambda: read_npz(file, "my", ["X"], todo="copy it")
    )


def test_read_npz__as_numpy_names_what_is_there(file):
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("X.npy", npy(np.zeros(1)))
        archive.writestr("X", npy(np.ones(1)))
    arrays, names = read_npz(file, "my", ["X"])
    with np.load(file) as found:
        assert arrays["X"] == found["X"] == 1
        assert names == found.files


@pytest.mark.parametrize("shape", ["(True, 100)", "(-10, -10)", "(-1, 100)", "(100.0,)"])
def test_read_npy__header_whose_shape_is_none(file, shape):
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}}}\n".encode()
    file.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + bytes(100))
    with pytest.raises(UserError, match=r"^my: X is truncated or damaged \("):
        read_npy(file, "my", "X")


def test_read_npy__header_that_cannot_be_read__is_not_repeated_whole(file):
    text = b"{'shape': (" + b"9" * 5000 + b",)}\n"
    file.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + bytes(100))
    with pytest.raises(UserError, match=r"^my: X is truncated or damaged \(.{1,250} \.\.\.\), save it again\.$"):
        read_npy(file, "my", "X")
