import gzip
import socket
import struct
import tracemalloc
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
import torch
import torchvision

from kd_lab.datasets.mnist import Mnist
from kd_lab.errors import UserError
from tests.datasets.idx_files import NAMES, idx, write


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*, root: str, train: bool, download: bool) -> None:
        print("Failed to download, trying next")
        raise RuntimeError("no route\nto host\n")

    monkeypatch.setattr(torchvision.datasets, "MNIST", refuse)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("below", ["", "MNIST/raw"])
def test_mnist__reads_files_where_they_lie(tmp_path: Path, offline: None, packed: bool, below: str) -> None:
    images, labels, test_images, test_labels = write(tmp_path / below, packed)
    data = Mnist(path=str(tmp_path), validation=10).load()
    assert data.source.inputs.shape == (80, 1, 28, 28)
    assert data.source.inputs.dtype == torch.uint8
    expected = (np.concatenate([images, test_images]).astype(np.float64) / 255 - 0.1307) / 0.3081
    given = data.rows(torch.arange(80)).batch(0, 80, "cpu")
    np.testing.assert_allclose(given[:, 0].numpy(), expected, atol=1e-6)
    assert data.targets.tolist() == [*labels.tolist(), *test_labels.tolist()]


def test_mnist__official_test_set_is_the_test_part(tmp_path: Path) -> None:
    write(tmp_path)
    data = Mnist(path=str(tmp_path), validation=10, labels=20).load()
    assert data.test.tolist() == list(range(60, 80))
    assert (len(data.train), len(data.validation), len(data.transfer)) == (20, 10, 50)
    assert torch.bincount(data.targets[data.train]).tolist() == [2] * 10


def test_mnist__files_may_lie_in_both_places(tmp_path: Path, offline: None) -> None:
    write(tmp_path)
    (tmp_path / "MNIST" / "raw").mkdir(parents=True)
    (tmp_path / NAMES[0]).rename(tmp_path / "MNIST" / "raw" / NAMES[0])
    assert len(Mnist(path=str(tmp_path), validation=0).load().train) == 60


def test_mnist__downloads_what_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def fetch(*, root: str, train: bool, download: bool) -> None:
        calls.append(download)
        write(Path(root) / "MNIST" / "raw")

    monkeypatch.setattr(torchvision.datasets, "MNIST", fetch)
    mnist = Mnist(path=str(tmp_path / "new"), download=True, validation=0)
    assert not calls
    assert len(mnist.load().test) == 20
    mnist.load()
    assert calls == [True]


def test_mnist__offline_says_what_where_and_what_to_do(
    tmp_path: Path, offline: None, capsys: pytest.CaptureFixture[str]
) -> None:
    before = socket.getdefaulttimeout()
    with pytest.raises(
        UserError, match=r"expected train-images-idx3-ubyte, .*MNIST/raw.*\(no route to host\); put it"
    ) as told:
        Mnist(path=str(tmp_path / "none"), download=True).load()
    assert str(told.value).startswith(f"dataset.path={tmp_path / 'none'}: ")
    assert capsys.readouterr() == ("", "")
    assert socket.getdefaulttimeout() == before


def test_mnist__another_folder_is_never_filled_unasked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchvision.datasets, "MNIST", _never)
    what = rf"{', '.join(NAMES)} \(with or without \.gz\), directly or in MNIST/raw"
    with pytest.raises(
        UserError,
        match=rf"^dataset\.path={tmp_path}/mistyped: there is no such folder; name one with {what}, or set "
        r"dataset\.download=true to make and fill it\.$",
    ):
        Mnist(path=str(tmp_path / "mistyped")).load()
    with pytest.raises(
        UserError,
        match=rf"^dataset\.path={tmp_path}: expected {what}, but not all of that is there; put it there, or set "
        r"dataset\.download=true to download it\.$",
    ):
        Mnist(path=str(tmp_path)).load()
    assert not list(tmp_path.iterdir())


def _never(**_: Any) -> Any:
    raise AssertionError("downloaded, or read")


@pytest.mark.parametrize("spelled", ["~/.cache/kd-lab/mnist", "~/.cache/kd-lab/mnist/", "{home}/.cache/kd-lab/mnist"])
def test_mnist__the_default_folder_is_filled_without_asking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spelled: str
) -> None:
    def fetch(*, root: str, train: bool, download: bool) -> None:
        write(Path(root) / "MNIST" / "raw")

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(torchvision.datasets, "MNIST", fetch)
    assert len(Mnist(path=spelled.format(home=tmp_path), validation=0).load().test) == 20
    assert (tmp_path / ".cache" / "kd-lab" / "mnist" / "MNIST" / "raw" / NAMES[0]).is_file()


def test_mnist__damaged_files(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / NAMES[0]).write_bytes((tmp_path / NAMES[0]).read_bytes()[:-5])
    with pytest.raises(UserError, match=r"train-images-idx3-ubyte is damaged or no IDX file \(47051 bytes do not"):
        Mnist(path=str(tmp_path)).load()
    (tmp_path / NAMES[0]).write_bytes(b"")
    with pytest.raises(UserError, match=r"train-images-idx3-ubyte is damaged or no IDX file"):
        Mnist(path=str(tmp_path)).load()


def test_mnist__damaged_archive(tmp_path: Path) -> None:
    write(tmp_path, packed=True)
    file = tmp_path / f"{NAMES[2]}.gz"
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(UserError, match=r"t10k-images-idx3-ubyte.gz is damaged or no IDX file"):
        Mnist(path=str(tmp_path)).load()


def _idx_of(*shape: int, kind: int = 8) -> bytes:
    """What a file begins with."""
    return struct.pack(f">4B{len(shape)}I", 0, 0, kind, len(shape), *shape)


def _refused(folder: Path, message: str) -> None:
    """`load` refuses with that message, and takes next to nothing."""
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match=message):
            Mnist(path=str(folder), validation=0).load()
        assert tracemalloc.get_traced_memory()[1] < 2**23
    finally:
        tracemalloc.stop()


@pytest.fixture
def unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """No more than headers may be read."""
    monkeypatch.setattr(Mnist, "_payload", _never)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("place", [0, 1, 2, 3])
def test_mnist__more_than_a_gib_is_refused_by_its_header(
    tmp_path: Path, unread: None, packed: bool, place: int
) -> None:
    write(tmp_path, packed)
    raw = _idx_of(2**21, 28, 28) if place % 2 == 0 else _idx_of(2**31)
    (tmp_path / (NAMES[place] + ".gz" * packed)).write_bytes(gzip.compress(raw) if packed else raw)
    _refused(tmp_path, rf"{NAMES[place]}.* \(its first bytes announce \d\.\d+ GB, expected at most 1\.1 GB\), put")


@pytest.mark.parametrize("packed", [False, True])
def test_mnist__more_than_the_file_can_hold(tmp_path: Path, unread: None, packed: bool) -> None:
    """A byte of a .gz file holds at most 1032."""
    write(tmp_path, packed)
    raw = _idx_of(2**20, 28, 28)
    (tmp_path / (NAMES[0] + ".gz" * packed)).write_bytes(gzip.compress(raw) if packed else raw)
    _refused(tmp_path, rf"{NAMES[0]}.* \(\d\d bytes do not hold what its first bytes announce\)")


def test_mnist__a_bomb_of_another_shape(tmp_path: Path, unread: None) -> None:
    write(tmp_path, packed=True)
    (tmp_path / f"{NAMES[0]}.gz").write_bytes(gzip.compress(_idx_of(1, 2**25) + bytes(2**25)))
    _refused(
        tmp_path, r"train-images-idx3-ubyte.gz has shape \[1, 33554432\] and its labels \[60\], expected \[N, 28, 28\]"
    )


@pytest.mark.parametrize("place", [0, 1])
def test_mnist__a_bomb_behind_what_is_announced(tmp_path: Path, place: int) -> None:
    array = write(tmp_path, packed=True)[place]
    (tmp_path / f"{NAMES[place]}.gz").write_bytes(gzip.compress(idx(array) + bytes(2**26)))
    _refused(tmp_path, rf"{NAMES[place]}.gz is damaged .* \(it holds more than the {array.size} bytes that its first")


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("off", [-1, 1])
def test_mnist__a_byte_too_few_or_too_many(tmp_path: Path, packed: bool, off: int) -> None:
    raw = idx(write(tmp_path, packed)[1])
    raw = raw[:-1] if off < 0 else raw + b"\0"
    (tmp_path / (NAMES[1] + ".gz" * packed)).write_bytes(gzip.compress(raw) if packed else raw)
    _refused(
        tmp_path, rf"{NAMES[1]}.* \(.* that its first announce|67 bytes do not hold what its first bytes announce\)"
    )


@pytest.mark.parametrize(
    "raw",
    [
        _idx_of(60, kind=9) + bytes(60),
        _idx_of(0),
        _idx_of(*[1] * 255)[:200],
        _idx_of(*[2**31] * 200),
        b"\0\0\x08",
    ],
)
def test_mnist__no_header_of_bytes(tmp_path: Path, unread: None, raw: bytes) -> None:
    write(tmp_path)
    (tmp_path / NAMES[1]).write_bytes(raw)
    _refused(tmp_path, rf"{NAMES[1]} is damaged or no IDX file")


def test_mnist__more_than_the_memory(tmp_path: Path, unread: None, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=2**10))
    _refused(tmp_path, rf"^dataset.path={tmp_path}: declares 62\.8 KB, expected at most the 1\.0\d KB of memory")


def test_mnist__advice_for_a_damaged_file(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / NAMES[0]).write_bytes(b"")
    with pytest.raises(UserError, match=r"put the right one there\.$"):
        Mnist(path=str(tmp_path)).load()
    with pytest.raises(UserError, match=r"delete it to download it anew\.$"):
        Mnist(path=str(tmp_path), download=True).load()


def test_mnist__labels_that_do_not_fit_the_images(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / NAMES[1]).write_bytes(idx(np.zeros(59, np.uint8)))
    with pytest.raises(UserError, match=r"train-images-idx3-ubyte has shape \[60, 28, 28\] and its labels \[59\]"):
        Mnist(path=str(tmp_path)).load()


def test_mnist__labels_beyond_nine(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / NAMES[3]).write_bytes(idx(np.full(20, 10, np.uint8)))
    with pytest.raises(UserError, match=r"t10k-images-idx3-ubyte .* with classes 0 to 9"):
        Mnist(path=str(tmp_path)).load()


def test_mnist__train_and_test_images_of_other_sizes(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / NAMES[2]).write_bytes(idx(np.zeros((20, 14, 14), np.uint8)))
    with pytest.raises(UserError, match=r"t10k-images-idx3-ubyte has shape \[20, 14, 14\].*expected \[N, 28, 28\]"):
        Mnist(path=str(tmp_path)).load()


def test_mnist__validation_larger_than_the_pool(tmp_path: Path) -> None:
    write(tmp_path)
    with pytest.raises(UserError, match=r"dataset.validation=5000: there are only 60 labelled training points"):
        Mnist(path=str(tmp_path)).load()
