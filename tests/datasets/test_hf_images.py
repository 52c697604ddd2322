import builtins
import io
from pathlib import Path
from typing import Any

import pytest
import torch

from kd_lab.augment.random_resized_crop import RandomResizedCrop
from kd_lab.datasets.hf_images import HfImages
from kd_lab.datasets.image_folder import ImageFolder
from kd_lab.errors import UserError
from kd_lab.types import Data, InMemory, has_whole
from tests.contracts.feeds import all_of, same
from tests.datasets.picture_files import CLASSES, in_parts, picture
from tests.feeds.test_streaming import TRAINING, feed

hf = pytest.importorskip("datasets")


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hf.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def load(path: Path | str, **settings: Any) -> Data:
    return HfImages(path=str(path), **{"size": 16, **settings}).load()


def png(number: int) -> dict[str, Any]:
    content = io.BytesIO()
    picture(number, [(40, 30), (24, 36), (50, 50)][number % 3]).save(content, "PNG")
    return {"bytes": content.getvalue(), "path": None}


def parquet(folder: Path, labels: Any = None, *, count: int = 30, split: str = "train", **more: Any) -> Path:
    """A split as the library writes it: pictures in bytes, classes with names."""
    folder.mkdir(parents=True, exist_ok=True)
    kinds = {"image": hf.Image(), "label": labels or hf.ClassLabel(names=list(CLASSES))}
    values = [CLASSES[n % 3] if kinds["label"].dtype == "string" else n % 3 for n in range(count)]
    columns = {"image": [png(number) for number in range(count)], "label": values, **more}
    for name in more:
        kinds[name] = hf.Image() if name == "thumb" else hf.Value("int64")
    hf.Dataset.from_dict(columns, hf.Features(kinds)).to_parquet(folder / f"{split}-00000-of-00001.parquet")
    return folder


def test_hf_images__parquet_of_two_splits(tmp_path: Path) -> None:
    parquet(parquet(tmp_path / "x"), count=9, split="test")
    data = load(tmp_path / "x", validation=6)
    assert (data.name, data.num_classes, data.input_shape) == ("hf_images", 3, (3, 16, 16))
    assert (len(data.train), len(data.validation), len(data.test)) == (24, 6, 9)
    assert data.targets.tolist() == [n % 3 for n in (*range(30), *range(9))]
    assert torch.equal(data.read(torch.tensor([4])), data.read(torch.tensor([34])))


def test_hf_images__three_splits_and_one(tmp_path: Path) -> None:
    parquet(tmp_path / "one")
    data = load(tmp_path / "one", test=0.2)
    assert (len(data.train), len(data.validation), len(data.test)) == (24, 0, 6)
    for split, count in (("train", 30), ("validation", 6), ("test", 9)):
        parquet(tmp_path / "three", count=count, split=split)
    data = load(tmp_path / "three")
    assert (len(data.train), len(data.validation), len(data.test)) == (30, 6, 9)
    data = load(tmp_path / "three", test_split="validation", validation_split=None)
    assert len(data.test) == 6


def test_hf_images__a_folder_of_pictures_is_that_of_image_folder(tmp_path: Path) -> None:
    in_parts(tmp_path / "x", val=0, test=3)
    one, other = load(tmp_path / "x"), ImageFolder(path=str(tmp_path / "x"), size=16).load()
    rows = torch.arange(27)
    assert torch.equal(one.read(rows), other.read(rows))
    assert torch.equal(one.targets, other.targets)
    assert torch.equal(one.rows(rows).batch(0, 27, "cpu"), other.rows(rows).batch(0, 27, "cpu"))  # type: ignore[arg-type]


@pytest.mark.slow
def test_hf_images__in_memory_or_read_the_same_batches(tmp_path: Path) -> None:
    parquet(tmp_path / "x")
    kept, read = load(tmp_path / "x"), load(tmp_path / "x", memory_mb=0)
    assert isinstance(kept.source, InMemory)
    assert has_whole(read.source)
    assert kept.fingerprint == read.fingerprint
    assert torch.equal(kept.read(torch.arange(30)), read.read(torch.arange(30)))
    cut = load(tmp_path / "x", augment=RandomResizedCrop())
    settings = {**TRAINING, "rows": cut.train}
    assert same(all_of(feed(cut, 0, **settings)), all_of(feed(cut, 2, **settings)))


def test_hf_images__text_labels_are_numbered_by_name(tmp_path: Path) -> None:
    data = load(parquet(tmp_path / "x", hf.Value("string")))
    assert data.targets.tolist() == [n % 3 for n in range(30)]


def test_hf_images__columns_that_are_named(tmp_path: Path) -> None:
    folder = parquet(tmp_path / "x", thumb=[png(number) for number in range(30)], group=[n % 2 for n in range(30)])
    with pytest.raises(
        UserError, match=r"columns image, label, thumb, group, several could be it \(image, thumb\); say"
    ):
        load(folder)
    assert load(folder, image="thumb", label="group").num_classes == 2
    with pytest.raises(
        UserError, match=r"^dataset.image=picture: there is no such column; expected one of image, label"
    ):
        load(folder, image="picture")


def refused(path: Path | str, message: str, **settings: Any) -> None:
    with pytest.raises(UserError, match=message):
        load(path, **settings)


def test_hf_images__no_such_split(tmp_path: Path) -> None:
    refused(
        parquet(tmp_path / "x"),
        r"^dataset.test_split=dev: .* has no such split, expected one of train",
        test_split="dev",
    )
    refused(tmp_path / "x", r"^dataset.train_split=all: ", train_split="all")


def test_hf_images__no_such_dataset(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", r"^dataset.path=.*empty: the datasets library cannot load it \(.*\); expected a folder")


def test_hf_images__validation_asked_for_twice(tmp_path: Path) -> None:
    for split in ("train", "validation", "test"):
        parquet(tmp_path / "x", split=split)
    refused(tmp_path / "x", r"^dataset.validation=3: .* already, leave it away", validation=3)


def test_hf_images__labels_that_are_missing_or_no_classes(tmp_path: Path) -> None:
    folder = parquet(tmp_path / "x", size=[None, *range(29)], weight=[n - 5 for n in range(30)])
    refused(folder, r"column size has no class in row 0", label="size")
    refused(folder, r"column weight holds -5, expected whole numbers from 0, or text", label="weight")


def test_hf_images__a_picture_that_cannot_be_read(tmp_path: Path) -> None:
    tmp_path.joinpath("x").mkdir()
    pictures = [png(number) for number in range(30)]
    pictures[7]["bytes"] = b"no picture"
    kinds = hf.Features({"image": hf.Image(), "label": hf.ClassLabel(names=list(CLASSES))})
    made = hf.Dataset.from_dict({"image": pictures, "label": [n % 3 for n in range(30)]}, kinds)
    made.to_parquet(tmp_path / "x" / "train.parquet")
    refused(tmp_path / "x", r"row 7 cannot be read as a picture \(no format that Pillow knows\)")


def test_hf_images__without_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *arguments: Any, **named: Any) -> Any:
        if name == "datasets":
            raise ImportError(name)
        return real(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", refuse)
    refused(tmp_path, r"^dataset.path=.*: needs the datasets library; pip install 'kd-lab\[hf\]'$")
