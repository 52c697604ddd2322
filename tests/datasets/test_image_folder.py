import logging
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from kd_lab.augment.crop_flip import CropFlip
from kd_lab.augment.random_resized_crop import RandomResizedCrop
from kd_lab.datasets.common import checked, folders, sampled
from kd_lab.datasets.image_folder import ImageFolder
from kd_lab.errors import UserError
from kd_lab.types import Data, InMemory, has_whole
from tests.datasets.picture_files import CLASSES, in_parts, tiny, write


def folder(path: Path, **settings: Any) -> ImageFolder:
    return ImageFolder(path=str(path), **{"size": 16, **settings})


def load(path: Path, **settings: Any) -> Data:
    return folder(path, **settings).load()


def sizes(data: Data) -> tuple[int, int, int]:
    return len(data.train), len(data.validation), len(data.test)


def test_image_folder__train_and_val__val_is_the_test(tmp_path: Path) -> None:
    data = load(in_parts(tmp_path))
    assert (data.name, data.num_classes, data.input_shape) == ("image_folder", 3, (3, 16, 16))
    assert sizes(data) == (18, 0, 9)
    assert data.targets[data.train].tolist() == [0] * 6 + [1] * 6 + [2] * 6
    assert data.targets[data.test].tolist() == [0] * 3 + [1] * 3 + [2] * 3


def test_image_folder__all_three_parts(tmp_path: Path) -> None:
    data = load(in_parts(tmp_path, test=2))
    assert sizes(data) == (18, 9, 6)
    assert torch.cat([data.train, data.validation, data.test]).tolist() == list(range(33))


def test_image_folder__validation_and_labels_are_cut_from_train(tmp_path: Path) -> None:
    data = load(in_parts(tmp_path), validation=6, labels=3)
    assert sizes(data) == (3, 6, 9)
    assert len(data.transfer) == 12
    assert {*data.validation.tolist()} <= {*range(18)}


def test_image_folder__classes_alone(tmp_path: Path) -> None:
    write(tmp_path, dict.fromkeys(CLASSES, 10), ending=".jpg")
    (tmp_path / ".cache").mkdir()
    data = load(tmp_path, test=0.2, validation=0.25)
    assert sizes(data) == (18, 6, 6)
    assert torch.bincount(data.targets[data.test]).tolist() == [2, 2, 2]


def test_image_folder__tiny_imagenet_as_it_is_distributed(tmp_path: Path) -> None:
    data = load(tiny(tmp_path))
    assert sizes(data) == (18, 0, 9)
    assert data.targets[data.test].tolist() == [0, 1, 2] * 3


def test_image_folder__a_sample_is_the_middle_normalised(tmp_path: Path) -> None:
    files = sorted((in_parts(tmp_path) / "train").rglob("*.png"))
    data = load(tmp_path, resize=20, mean=[0.1, 0.2, 0.3], deviation=[0.4, 0.5, 0.6])
    official = v2.Compose(
        [
            v2.PILToTensor(),
            v2.Resize(20),
            v2.CenterCrop(16),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize([0.1, 0.2, 0.3], [0.4, 0.5, 0.6]),
        ]
    )
    expected = torch.stack([official(Image.open(file).convert("RGB")) for file in files])
    torch.testing.assert_close(data.rows(data.train).batch(0, 18, "cpu"), expected, atol=1e-6, rtol=0)


def test_image_folder__short_side_by_itself_is_imagenets(tmp_path: Path) -> None:
    in_parts(tmp_path)
    one, other = load(tmp_path, size=28), load(tmp_path, size=28, resize=32)
    assert one.fingerprint == other.fingerprint
    assert torch.equal(one.read(one.train), other.read(one.train))


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "I;16"])
def test_image_folder__any_kind_of_picture_is_seen_in_rgb(tmp_path: Path, mode: str) -> None:
    file = sorted((in_parts(tmp_path) / "train").rglob("*.png"))[0]
    name = ".tif" if mode in {"CMYK"} else ".png"
    made = Image.fromarray(np.full((30, 40), 500, np.uint16)) if mode == "I;16" else Image.open(file).convert(mode)
    file.unlink()
    made.save(file.with_suffix(name))
    assert load(tmp_path).read(torch.tensor([0])).shape == (1, 3, 16, 16)


def test_image_folder__in_memory_only_where_it_is_small_and_nobody_cuts(tmp_path: Path) -> None:
    in_parts(tmp_path)
    kept, read = load(tmp_path), load(tmp_path, memory_mb=0)
    assert isinstance(kept.source, InMemory)
    assert has_whole(read.source)
    assert has_whole(load(tmp_path, augment=RandomResizedCrop()).source)
    assert isinstance(load(tmp_path, augment=CropFlip()).source, InMemory)
    assert kept.fingerprint == read.fingerprint
    rows = torch.tensor([5, 0, 26])
    assert torch.equal(kept.read(rows), read.read(rows))
    assert torch.equal(pickle.loads(pickle.dumps(read.source)).read(rows), read.read(rows))


def test_image_folder__fingerprint_follows_content_and_not_the_place(tmp_path: Path) -> None:
    one, other = in_parts(tmp_path / "one"), tmp_path / "other"
    shutil.copytree(one, other)
    first = load(one).fingerprint
    assert load(other).fingerprint == first
    assert load(one, size=20).fingerprint != first
    assert load(one, resize=30).fingerprint != first
    assert load(one, mean=[0.5] * 3).fingerprint != first
    changed = other / "train" / "bee" / "0007.png"
    raw = bytearray(changed.read_bytes())
    raw[-20] ^= 1
    changed.write_bytes(raw)
    assert ImageFolder(path=str(other), size=16, memory_mb=0).load().fingerprint != first
    shutil.copy(one / "train" / "bee" / "0007.png", changed)
    changed.rename(changed.with_name("0007b.png"))
    assert load(other).fingerprint != first


def test_image_folder__of_many_bytes_some_files_are_hashed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_parts(tmp_path)
    read: list[str] = []
    monkeypatch.setattr(folders, "SMALL", 0)
    monkeypatch.setattr(sampled, "SAMPLED", 3)
    monkeypatch.setattr(Path, "read_bytes", lambda path: read.append(path.name) or b"")
    folders.find(tmp_path, "dataset.path=x").digest()
    assert read == ["0000.png", "0013.png", "1008.png"]


def damage(path: Path, how: str) -> None:
    raw = path.read_bytes()
    path.write_bytes({"empty": b"", "text": b"no picture", "cut": raw[: len(raw) // 2]}[how])


@pytest.mark.parametrize(("how", "reason"), [("empty", "no format"), ("text", "no format"), ("cut", "[Tt]runcated")])
@pytest.mark.parametrize("ending", [".png", ".jpg"])
def test_image_folder__a_picture_that_cannot_be_read(tmp_path: Path, how: str, reason: str, ending: str) -> None:
    files = write(tmp_path, dict.fromkeys(CLASSES, 5), ending=ending)
    damage(files[7], how)
    match = rf"^dataset.path={tmp_path}: bee/0007{ending} cannot be read as a picture \(.*{reason}.*\); repair it, take"
    with pytest.raises(UserError, match=match):
        load(tmp_path)
    read = load(tmp_path, memory_mb=0)
    with pytest.raises(UserError, match=match):
        read.read(torch.arange(15))


def test_image_folder__skip_corrupt__told_counted_and_looked_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    files = sorted((in_parts(tmp_path / "x") / "train").rglob("*.png"))
    damage(files[7], "cut")
    damage(files[8], "text")
    looked: list[Path] = []
    real = checked.decoded
    monkeypatch.setattr(checked, "decoded", lambda file: looked.append(file) or real(file))
    with caplog.at_level(logging.WARNING, "kd_lab"):
        data = load(tmp_path / "x", skip_corrupt=True)
    assert caplog.messages == [
        "dataset.skip_corrupt=true: 2 of 27 pictures cannot be read and are left out, the first train/bee/0007.png"
    ]
    assert sizes(data) == (16, 0, 9)
    assert torch.bincount(data.targets[data.train]).tolist() == [6, 4, 6]
    assert len(looked) == 27
    assert load(tmp_path / "x", skip_corrupt=True).fingerprint == data.fingerprint
    assert len(looked) == 27
    shutil.copy(files[0], files[7])
    assert sizes(load(tmp_path / "x", skip_corrupt=True)) == (17, 0, 9)
    assert len(looked) == 54


def test_image_folder__skip_corrupt__nothing_to_skip_is_not_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    plain = load(in_parts(tmp_path / "x"))
    assert load(tmp_path / "x", skip_corrupt=True).fingerprint == plain.fingerprint
    assert not caplog.messages


def refused(path: Path, message: str, **settings: Any) -> None:
    with pytest.raises(UserError, match=f"^dataset.path={path}: {message}"):
        load(path, **settings)


def test_image_folder__no_folder(tmp_path: Path) -> None:
    refused(tmp_path / "none", r"there is no such folder; name one with train and val")


def test_image_folder__a_folder_without_pictures(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    refused(tmp_path, rf"expected at least two folders of pictures in {tmp_path}, .* but it holds none")
    (tmp_path / "only").mkdir()
    refused(tmp_path, r".* but it holds only only")
    (tmp_path / "other").mkdir()
    refused(tmp_path, rf"the class folder {tmp_path}/only holds no picture \(2 of 2 classes have none\)")


def test_image_folder__an_empty_class(tmp_path: Path) -> None:
    for file in (in_parts(tmp_path) / "val" / "bee").iterdir():
        file.rename(file.with_suffix(".txt"))
    refused(tmp_path, rf"the class folder {tmp_path}/val/bee holds no picture \(1 of 3 .*expected files such as .jpg")


def test_image_folder__train_and_val_with_other_classes(tmp_path: Path) -> None:
    (in_parts(tmp_path) / "val" / "cat").rename(tmp_path / "val" / "dog")
    refused(
        tmp_path,
        r"train and val have different class folders \(1 in train alone, such as cat; 1 in val alone, such as dog\); "
        r"expected the same ones\.$",
    )
    shutil.rmtree(tmp_path / "val" / "dog")
    refused(tmp_path, r"train and val have different class folders \(1 in train alone, such as cat\)")


def test_image_folder__a_test_folder_of_other_classes(tmp_path: Path) -> None:
    (in_parts(tmp_path, test=1) / "test" / "cat").rename(tmp_path / "test" / "dog")
    refused(tmp_path, r"train and test have different class folders")


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("1000.png\tcow\t0\t0\t1\t1", "cow is no class folder of train"),
        ("9.png\tant\t0\t0\t1\t1", "images holds no 9.png"),
        ("1000.png", " is no class folder of train"),
    ],
)
def test_image_folder__annotations_that_do_not_fit(tmp_path: Path, line: str, wrong: str) -> None:
    file = tiny(tmp_path) / "val" / "val_annotations.txt"
    file.write_text(f"{file.read_text()}{line}\n")
    refused(tmp_path, rf"{file}, line 10: {wrong}; expected a picture of {tmp_path}/val/images and its class")
    file.write_text("")
    refused(tmp_path, rf"{file} is empty")


def test_image_folder__validation_asked_for_twice(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"dataset.validation=3: .* has val and test already, leave it away"):
        load(in_parts(tmp_path, test=2), validation=3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": 0}, r"Expected `size` to be >= 1, but got 0"),
        ({"resize": 8}, r"Expected `resize` to be at least size=16, or null, but got 8"),
        ({"mean": [0.5]}, r"Expected `mean` to be three numbers, one for each color, but got \[0.5\]"),
        ({"deviation": [0.5, 0.5, 0.0]}, r"Expected `deviation` to be above 0, but got"),
        ({"test": 0}, r"Expected `test` to be > 0, but got 0"),
        ({"memory_mb": -1}, r"Expected `memory_mb` to be >= 0, but got -1"),
    ],
)
def test_image_folder__settings_out_of_range(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        folder(Path("x"), **settings)


def test_image_folder__an_augmentation_that_changes_the_shape(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"dataset.augment=<lambda>: it must keep the shape .* made \[3, 16, 15\] of"):
        load(in_parts(tmp_path), augment=lambda inputs, _: inputs[..., 1:])
