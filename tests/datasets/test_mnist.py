import gzip
import socket
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision

from kd_lab.datasets.mnist import Mnist
from kd_lab.errors import UserError

NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def _idx(array: np.ndarray[Any, Any]) -> bytes:
    return struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def _arrays(train: int = 60, test: int = 20) -> list[np.ndarray[Any, Any]]:
    random = np.random.default_rng(0)
    images = [random.integers(0, 256, (count, 28, 28)).astype(np.uint8) for count in (train, test)]
    labels = [(np.arange(count) % 10).astype(np.uint8) for count in (train, test)]
    return [images[0], labels[0], images[1], labels[1]]


def _write(folder: Path, packed: bool = False) -> list[np.ndarray[Any, Any]]:
    folder.mkdir(parents=True, exist_ok=True)
    arrays = _arrays()
    for name, array in zip(NAMES, arrays, strict=True):
        raw = _idx(array)
        (folder / (name + ".gz" * packed)).write_bytes(gzip.compress(raw) if packed else raw)
    return arrays


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*, root: str, train: bool, download: bool) -> None:
        print("Failed to download, trying next")
        raise RuntimeError("no route\nto host\n")

    monkeypatch.setattr(torchvision.datasets, "MNIST", refuse)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("below", ["", "MNIST/raw"])
def test_mnist__reads_files_where_they_lie(tmp_path: Path, offline: None, packed: bool, below: str) -> None:
    images, labels, test_images, test_labels = _write(tmp_path / below, packed)
    data = Mnist(path=str(tmp_path), validation=10).load()
    assert data.inputs.shape == (80, 1, 28, 28)
    assert data.inputs.dtype == torch.float32
    expected = (np.concatenate([images, test_images]).astype(np.float64) / 255 - 0.1307) / 0.3081
    np.testing.assert_allclose(data.inputs[:, 0].numpy(), expected, atol=1e-6)
    assert data.targets.tolist() == [*labels.tolist(), *test_labels.tolist()]


def test_mnist__official_test_set_is_the_test_part(tmp_path: Path) -> None:
    _write(tmp_path)
    data = Mnist(path=str(tmp_path), validation=10, labels=20).load()
    assert data.test.tolist() == list(range(60, 80))
    assert (len(data.train), len(data.validation), len(data.transfer)) == (20, 10, 50)
    assert torch.bincount(data.targets[data.train]).tolist() == [2] * 10


def test_mnist__files_may_lie_in_both_places(tmp_path: Path, offline: None) -> None:
    _write(tmp_path)
    (tmp_path / "MNIST" / "raw").mkdir(parents=True)
    (tmp_path / NAMES[0]).rename(tmp_path / "MNIST" / "raw" / NAMES[0])
    assert len(Mnist(path=str(tmp_path), validation=0).load().train) == 60


def test_mnist__downloads_what_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def fetch(*, root: str, train: bool, download: bool) -> None:
        calls.append(download)
        _write(Path(root) / "MNIST" / "raw")

    monkeypatch.setattr(torchvision.datasets, "MNIST", fetch)
    mnist = Mnist(path=str(tmp_path / "new"), validation=0)
    assert not calls
    assert len(mnist.load().test) == 20
    mnist.load()
    assert calls == [True]


def test_mnist__offline_says_what_where_and_what_to_do(
    tmp_path: Path, offline: None, capsys: pytest.CaptureFixture[str]
) -> None:
    before = socket.getdefaulttimeout()
    with pytest.raises(
        UserError, match=r"train-images-idx3-ubyte, .*MNIST/raw.*\(no route to host\); put them"
    ) as told:
        Mnist(path=str(tmp_path / "none")).load()
    assert str(told.value).startswith(f"dataset.path={tmp_path / 'none'}: ")
    assert capsys.readouterr() == ("", "")
    assert socket.getdefaulttimeout() == before


def test_mnist__damaged_files(tmp_path: Path) -> None:
    _write(tmp_path)
    (tmp_path / NAMES[0]).write_bytes((tmp_path / NAMES[0]).read_bytes()[:-5])
    with pytest.raises(UserError, match=r"train-images-idx3-ubyte is damaged or no MNIST file \(47051 bytes do not"):
        Mnist(path=str(tmp_path)).load()
    (tmp_path / NAMES[0]).write_bytes(b"")
    with pytest.raises(UserError, match=r"train-images-idx3-ubyte is damaged or no MNIST file"):
        Mnist(path=str(tmp_path)).load()


def test_mnist__damaged_archive(tmp_path: Path) -> None:
    _write(tmp_path, packed=True)
    file = tmp_path / f"{NAMES[2]}.gz"
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(UserError, match=r"t10k-images-idx3-ubyte.gz is damaged or no MNIST file"):
        Mnist(path=str(tmp_path)).load()


def test_mnist__labels_that_do_not_fit_the_images(tmp_path: Path) -> None:
    _write(tmp_path)
    (tmp_path / NAMES[1]).write_bytes(_idx(np.zeros(59, np.uint8)))
    with pytest.raises(UserError, match=r"train-images-idx3-ubyte has shape \[60, 28, 28\] and its labels \[59\]"):
        Mnist(path=str(tmp_path)).load()


def test_mnist__labels_beyond_nine(tmp_path: Path) -> None:
    _write(tmp_path)
    (tmp_path / NAMES[3]).write_bytes(_idx(np.full(20, 10, np.uint8)))
    with pytest.raises(UserError, match=r"t10k-images-idx3-ubyte .* with classes 0 to 9"):
        Mnist(path=str(tmp_path)).load()


def test_mnist__train_and_test_images_of_other_sizes(tmp_path: Path) -> None:
    _write(tmp_path)
    (tmp_path / NAMES[2]).write_bytes(_idx(np.zeros((20, 14, 14), np.uint8)))
    with pytest.raises(UserError, match=r"t10k-images-idx3-ubyte has shape \[20, 14, 14\].*expected \[N, 28, 28\]"):
        Mnist(path=str(tmp_path)).load()


def test_mnist__validation_larger_than_the_pool(tmp_path: Path) -> None:
    _write(tmp_path)
    with pytest.raises(UserError, match=r"dataset.validation=5000: there are only 60 labelled training points"):
        Mnist(path=str(tmp_path)).load()
