from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision

from kd_lab.datasets.fashion_mnist import FashionMnist
from kd_lab.errors import UserError
from tests.datasets.idx_files import write


@pytest.mark.parametrize("below", ["", "FashionMNIST/raw"])
def test_fashion_mnist__reads_files_where_they_lie(tmp_path: Path, below: str) -> None:
    images, labels, test_images, test_labels = write(tmp_path / below, packed=True)
    data = FashionMnist(path=str(tmp_path), validation=10).load()
    expected = (np.concatenate([images, test_images]).astype(np.float64) / 255 - 0.2860) / 0.3530
    np.testing.assert_allclose(data.rows(torch.arange(80)).batch(0, 80, "cpu")[:, 0].numpy(), expected, atol=1e-6)
    assert data.targets.tolist() == [*labels.tolist(), *test_labels.tolist()]
    assert data.name == "fashion_mnist"


def test_fashion_mnist__is_not_looked_for_where_mnist_lies(tmp_path: Path) -> None:
    write(tmp_path / "MNIST" / "raw")
    with pytest.raises(UserError, match=r"directly or in FashionMNIST/raw, but not all of that is there; put it"):
        FashionMnist(path=str(tmp_path)).load()


def test_fashion_mnist__its_own_default_folder_is_filled_by_its_own_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetch(*, root: str, train: bool, download: bool) -> None:
        write(Path(root) / "FashionMNIST" / "raw")

    def never(**_: Any) -> None:
        raise AssertionError("MNIST was downloaded")

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(torchvision.datasets, "FashionMNIST", fetch)
    monkeypatch.setattr(torchvision.datasets, "MNIST", never)
    assert len(FashionMnist(path="~/.cache/kd-lab/fashion-mnist", validation=0).load().test) == 20
    assert (tmp_path / ".cache" / "kd-lab" / "fashion-mnist" / "FashionMNIST" / "raw").is_dir()
    with pytest.raises(UserError, match=r"/mnist: there is no such folder"):
        FashionMnist(path="~/.cache/kd-lab/mnist").load()
