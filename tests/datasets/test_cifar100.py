from pathlib import Path

import numpy as np
import pytest
import torch

from kd_lab.datasets.cifar100 import Cifar100
from kd_lab.errors import UserError
from tests.datasets.cifar_files import as_binary, as_python, cifar100, pack, pixels, python2, write

HELD = cifar100()


def test_cifar100__channels_rows_columns_and_how_they_are_scaled(tmp_path: Path) -> None:
    write(tmp_path / "cifar-100-python", as_python(HELD))
    data = Cifar100(path=str(tmp_path), validation=0).load()
    assert data.source.read(torch.arange(300)).dtype == torch.uint8
    given = data.rows(torch.arange(300)).batch(0, 300, "cpu").numpy()
    for channel, (mean, deviation) in enumerate([(0.5071, 0.2675), (0.4867, 0.2565), (0.4408, 0.2761)]):
        of_site = HELD["train"][0][:, 1024 * channel : 1024 * (channel + 1)].reshape(200, 32, 32)
        np.testing.assert_allclose(given[:200, channel], (of_site / 255 - mean) / deviation, atol=1e-5)


def test_cifar100__fine_labels_and_the_official_test(tmp_path: Path) -> None:
    write(tmp_path / "cifar-100-python", as_python(HELD))
    data = Cifar100(path=str(tmp_path), validation=100).load()
    assert (data.name, data.num_classes) == ("cifar100", 100)
    assert data.targets.tolist() == [*HELD["train"][1], *HELD["test"][1]]
    assert data.test.tolist() == list(range(200, 300))
    assert (len(data.train), len(data.validation)) == (100, 100)


@pytest.mark.parametrize("form", ["python", "binary"])
@pytest.mark.parametrize("how", ["folder", "directly", "archive"])
def test_cifar100__is_found_in_every_form(tmp_path: Path, form: str, how: str) -> None:
    expected = tmp_path / "expected"
    write(expected, as_python(HELD))
    files, there = as_python(HELD) if form == "python" else as_binary(HELD), tmp_path / "there"
    write(there / f"cifar-100-{form}" if how == "folder" else there, files if how != "archive" else {})
    if how == "archive":
        pack(there / f"cifar-100-{form}.tar.gz", f"cifar-100-{form}", files)
    one, other = (Cifar100(path=str(path), validation=100).load() for path in (expected, there))
    assert one.fingerprint == other.fingerprint


def test_cifar100__coarse_labels_alone(tmp_path: Path) -> None:
    held = {"data": pixels(4, 0), "coarse_labels": [0, 1, 2, 3]}
    write(tmp_path, {"train": python2(held), "test": python2(held)})
    with pytest.raises(UserError, match=r"it holds no fine_labels, expected a list of whole numbers"):
        Cifar100(path=str(tmp_path)).load()
