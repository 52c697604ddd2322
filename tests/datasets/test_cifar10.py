import logging
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
import torch
import torchvision.datasets.utils

from kd_lab.datasets.cifar10 import Cifar10
from kd_lab.errors import UserError
from tests.datasets.cifar_files import as_binary, as_python, cifar10, pack, pixels, python2, write

PYTHON, BINARY = "cifar-10-batches-py", "cifar-10-batches-bin"
ARCHIVE = "cifar-10-python.tar.gz"
HELD = cifar10()


def _load(folder: Path, **settings: Any) -> Any:
    return Cifar10(path=str(folder), **{"validation": 0, **settings}).load()


@pytest.mark.parametrize("form", [PYTHON, BINARY, ARCHIVE])
def test_cifar10__five_batches_in_their_order_then_the_test(tmp_path: Path, form: str) -> None:
    if form == ARCHIVE:
        pack(tmp_path / ARCHIVE, PYTHON, as_python(HELD))
    else:
        write(tmp_path / form, as_python(HELD) if form == PYTHON else as_binary(HELD))
    data = _load(tmp_path, labels=50)
    images = np.concatenate([images for images, _ in HELD.values()]).reshape(120, 3, 32, 32)
    np.testing.assert_array_equal(data.source.inputs.numpy(), images)
    assert data.test.tolist() == list(range(100, 120))
    assert (data.name, data.num_classes, len(data.train), len(data.transfer)) == ("cifar10", 10, 50, 100)
    mean = ((images / 255).mean((0, 2, 3)) - (0.4914, 0.4822, 0.4465)) / (0.2470, 0.2435, 0.2616)
    given = data.rows(torch.arange(120)).batch(0, 120, "cpu")
    np.testing.assert_allclose(given.mean((0, 2, 3)).numpy(), mean, atol=1e-4)


def test_cifar10__the_archive_is_read_where_it_lies(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pack(tmp_path / ARCHIVE, PYTHON, as_python(HELD))
    with caplog.at_level(logging.WARNING):
        _load(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == [ARCHIVE]
    (told,) = caplog.messages
    assert told.startswith(f"dataset.path={tmp_path}: {tmp_path / ARCHIVE} has md5 ")
    assert told.endswith(", as published c58f30108f718f92721af3b95e74349a; it is read as it is.")


def test_cifar10__unpacked_files_go_before_the_archive(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pack(tmp_path / ARCHIVE, PYTHON, as_python(HELD))
    write(tmp_path / PYTHON, as_python(HELD))
    _load(tmp_path)
    assert not caplog.messages


def test_cifar10__a_folder_that_is_not_there_and_one_that_is_empty(tmp_path: Path) -> None:
    what = (
        rf"{PYTHON} or {BINARY}, or the archive of one of them \(cifar-10-python\.tar\.gz, cifar-10-binary\.tar\.gz\)"
    )
    with pytest.raises(UserError, match=rf"={tmp_path}/no: there is no such folder; name one with {what}"):
        _load(tmp_path / "no")
    with pytest.raises(UserError, match=rf"^dataset\.path={tmp_path}: expected {what}, but not all .*download=true"):
        _load(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("below", ["", PYTHON])
def test_cifar10__a_batch_is_missing(tmp_path: Path, below: str) -> None:
    write(tmp_path / PYTHON, as_python(HELD))
    (tmp_path / PYTHON / "data_batch_3").unlink()
    with pytest.raises(UserError, match=rf"{PYTHON} holds no data_batch_3, expected data_batch_1, .*, test_batch; un"):
        _load(tmp_path / below)


def test_cifar10__a_batch_is_missing_in_the_archive(tmp_path: Path) -> None:
    files = as_python(HELD)
    del files["data_batch_5"]
    pack(tmp_path / ARCHIVE, PYTHON, files)
    with pytest.raises(UserError, match=rf"is damaged or not of CIFAR-10 \(it holds no {PYTHON}/data_batch_5\), put"):
        _load(tmp_path)


class Runs:
    def __reduce__(self) -> Any:
        return Path.touch, (Path("owned"),)


def test_cifar10__a_pickle_that_runs_code__refused_and_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    bad = {**as_python(HELD), "data_batch_2": pickle.dumps({"data": Runs(), "labels": []}, 2)}
    write(tmp_path / "here", bad)
    with pytest.raises(
        UserError, match=rf"^dataset\.path={tmp_path}/here: data_batch_2 in {tmp_path}/here is damaged .*it asks for "
    ):
        _load(tmp_path / "here")
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 10], "labels from 0 to 10, expected 0 to 9"),
        ([-1, 3], "labels from -1 to 3, expected 0 to 9"),
        ([0, 2**70], r"labels from 0 to 1180591620717411303424, expected 0 to 9"),
        ([0, 1, 2], "it holds 3 labels for 2 images"),
        ([0, "1"], "it holds no labels, expected a list of whole numbers"),
        (None, "it holds no labels, expected a list of whole numbers"),
    ],
)
def test_cifar10__labels_that_do_not_fit(tmp_path: Path, labels: Any, message: str) -> None:
    write(tmp_path, {**as_python(HELD), "test_batch": python2({"data": pixels(2, 0), "labels": labels})})
    with pytest.raises(UserError, match=rf"test_batch in {tmp_path} is damaged or not of CIFAR-10 \({message}\), put"):
        _load(tmp_path)


@pytest.mark.parametrize("data", [pixels(2, 0)[:, 1:], [1, 2], pixels(2, 0).astype(np.float32)], ids=["a", "b", "c"])
def test_cifar10__images_of_another_kind(tmp_path: Path, data: Any) -> None:
    write(tmp_path, {**as_python(HELD), "test_batch": python2({"data": data, "labels": [0, 1]})})
    with pytest.raises(UserError, match=r"no data of 3072 bytes for each image|an array in it is not one of bytes"):
        _load(tmp_path)


@pytest.mark.parametrize("form", [PYTHON, BINARY])
@pytest.mark.parametrize("keep", [0, 5000])
def test_cifar10__a_truncated_file(tmp_path: Path, form: str, keep: int) -> None:
    files = as_python(HELD) if form == PYTHON else as_binary(HELD)
    name = next(iter(files))
    write(tmp_path / form, {**files, name: files[name][:keep]})
    with pytest.raises(UserError, match=rf"{name} in .*{form} is damaged or not of CIFAR-10 \(.+\), put the right"):
        _load(tmp_path)


def test_cifar10__a_truncated_archive(tmp_path: Path) -> None:
    pack(tmp_path / ARCHIVE, PYTHON, as_python(HELD))
    (tmp_path / ARCHIVE).write_bytes((tmp_path / ARCHIVE).read_bytes()[:-5000])
    with pytest.raises(UserError, match=rf"in {tmp_path}/{ARCHIVE} is damaged or not of CIFAR-10 \(.+\), put"):
        _load(tmp_path)
    with pytest.raises(UserError, match=r"delete it to download it anew\.$"):
        _load(tmp_path, download=True)


@pytest.mark.parametrize("form", [PYTHON, ARCHIVE])
def test_cifar10__more_than_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    if form == ARCHIVE:
        pack(tmp_path / ARCHIVE, PYTHON, as_python(HELD))
    else:
        write(tmp_path / form, as_python(HELD))
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=2**10))
    with pytest.raises(UserError, match=rf"^dataset\.path={tmp_path}: declares 6\d\.\d KB, expected at most"):
        _load(tmp_path)


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The university's; what was fetched from it."""
    fetched = []

    def download_url(url: str, root: str, filename: str, md5: str) -> None:
        fetched.append(f"{url} {md5}")
        pack(Path(root) / filename, PYTHON, as_python(HELD))

    monkeypatch.setattr(torchvision.datasets.utils, "download_url", download_url)
    return fetched


def test_cifar10__downloads_the_archive_once_on_request(tmp_path: Path, site: list[str]) -> None:
    with pytest.raises(UserError, match="there is no such folder"):
        _load(tmp_path / "new")
    assert len(_load(tmp_path / "new", download=True).test) == 20
    _load(tmp_path / "new")
    assert site == [f"https://www.cs.toronto.edu/~kriz/{ARCHIVE} c58f30108f718f92721af3b95e74349a"]
    assert [file.name for file in (tmp_path / "new").iterdir()] == [ARCHIVE]


def test_cifar10__the_default_folder_is_filled_without_asking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, site: list[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    _load(Path("~/.cache/kd-lab/cifar10"))
    assert (tmp_path / ".cache" / "kd-lab" / "cifar10" / ARCHIVE).is_file()


def test_cifar10__a_download_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def download_url(url: str, root: str, filename: str, md5: str) -> None:
        (Path(root) / filename).write_bytes(b"half of it")
        raise RuntimeError("File not found or corrupted.")

    monkeypatch.setattr(torchvision.datasets.utils, "download_url", download_url)
    with pytest.raises(UserError, match=r"the download failed \(File not found or corrupted\.\); put it there, or"):
        _load(tmp_path, download=True)
    assert not list(tmp_path.iterdir())
