"""Whole jobs on pictures in folders: trained, found again, and refused in one sentence."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.datasets.picture_files import CLASSES, in_parts
from tests.integration.conftest import Said
from tests.integration.test_bad_input import refused

Command = Callable[..., Said]
TINY = [
    "dataset=image_folder",
    "dataset.path=pictures",
    "dataset.size=16",
    "teacher=cnn",
    "teacher.channels=[4,8]",
    "student=cnn",
    "student.channels=[2,4]",
    "teacher.recipe.steps=2",
    "student.recipe.steps=2",
    "teacher.recipe.batch_size=8",
    "student.recipe.batch_size=8",
    "student.recipe.augment=true",
    "measure.latency_runs=2",
    "measure.latency_warmup=1",
    "measure.figures=false",
    "measure.throughput_batch=2",
    "trainer=cpu",
]


@pytest.mark.slow
def test_pictures__a_whole_job(kd_lab: Command, tmp_path: Path, small: list[str]) -> None:
    in_parts(tmp_path / "pictures", val=3, test=3)
    said = kd_lab(*TINY)
    assert said.code == 0, said.err
    assert "image_folder: 3x16x16 float32, 3 classes (6 labelled of each)" in said.out
    assert "9 for validation" in said.out
    again = kd_lab(*TINY)
    assert "found again and verified" in again.out


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_pictures__corrupt_while_it_trains(kd_lab: Command, tmp_path: Path, small: list[str], workers: int) -> None:
    in_parts(tmp_path / "pictures")
    (tmp_path / "pictures" / "train" / "bee" / "0007.png").write_bytes(b"no picture")
    said = kd_lab(*TINY, f"trainer.workers={workers}", "teacher.recipe.steps=9")
    assert said.code == 2, said.err
    (line,) = said.err.strip().splitlines()
    assert line.startswith("kd-lab: dataset.path=pictures: train/bee/0007.png cannot be read as a picture (no format")
    skipping = kd_lab(*TINY, "dataset.skip_corrupt=true")
    assert skipping.code == 0, skipping.err
    assert "1 of 27 pictures cannot be read and are left out, the first train/bee/0007.png" in skipping.out


@pytest.mark.slow
def test_pictures__a_worker_that_dies(kd_lab: Command, tmp_path: Path, small: list[str]) -> None:
    (tmp_path / "deadly.py").write_text(
        "import os, signal\nfrom dataclasses import replace\nimport torch\n"
        "from kd_lab.datasets.synthetic import Synthetic\n\n\n"
        "class Source:\n    def __init__(self, inner):\n        self.inner = inner\n\n    def read(self, rows):\n"
        "        if torch.utils.data.get_worker_info() is not None:\n            os.kill(os.getpid(), signal.SIGKILL)\n"
        "        return self.inner.read(rows)\n\n\n"
        "class Deadly:\n    def load(self):\n        data = Synthetic().load()\n"
        "        return replace(data, source=Source(data.source))\n"
    )
    said = kd_lab("dataset._target_=deadly.Deadly study=x", *small)
    assert said.code == 1
    (line,) = said.err.strip().splitlines()
    assert line.startswith("kd-lab: a worker, one of the processes that read the data, was killed or ended by itself")


@pytest.mark.parametrize("case", ["no folder", "other classes", "an empty class", "a corrupt picture"])
def test_bad_input__pictures(kd_lab: Command, tmp_path: Path, case: str) -> None:
    folder = tmp_path / "pictures"
    message = r"dataset.path=pictures: there is no such folder; name one with train and val"
    if case != "no folder":
        in_parts(folder)
    if case == "other classes":
        (folder / "val" / "cat").rename(folder / "val" / "dog")
        message = (
            r"dataset.path=pictures: train and val have different class folders \(1 in train alone, such as cat; 1"
        )
    if case == "an empty class":
        for file in (folder / "train" / CLASSES[1]).iterdir():
            file.unlink()
        message = r"dataset.path=pictures: the class folder pictures/train/bee holds no picture"
    if case == "a corrupt picture":
        (folder / "train" / "ant" / "0000.png").write_bytes(b"")
        message = r"dataset.path=pictures: train/ant/0000.png cannot be read as a picture"
    said = kd_lab(*TINY)
    refused(said, message, tmp_path, *([] if case == "no folder" else ["pictures"]))


@pytest.mark.slow
def test_torch__a_dataset_of_torchvision_by_name(kd_lab: Command, tmp_path: Path, small: list[str]) -> None:
    of_fake = [f"dataset.train.{one}" for one in ("size=60", "num_classes=3", "image_size=[3,16,16]")]
    own = [one for one in TINY if not one.startswith("dataset")]
    said = kd_lab(
        "dataset=torch", "dataset.train._target_=torchvision.datasets.FakeData", "dataset.test=12", *of_fake, *own
    )
    assert said.code == 0, said.err
    assert "torch: 3x16x16 float32, 3 classes" in said.out


def test_bad_input__torch(kd_lab: Command, tmp_path: Path) -> None:
    refused(
        kd_lab("dataset._target_=torchvision.datasets.FakeData"),
        r"is a PyTorch dataset; take it as dataset=torch dataset.train._target_=torchvision.datasets.FakeData$",
        tmp_path,
    )
    refused(kd_lab("dataset=torch"), r"dataset.train._target_: a value is missing", tmp_path)
    transform = "torchvision.transforms.RandomHorizontalFlip"
    refused(
        kd_lab(
            "dataset=torch dataset.train._target_=torchvision.datasets.FakeData dataset.train.size=40",
            f"dataset.train.transform._target_={transform}",
        ),
        r"dataset.train: sample \d+ is another one when it is asked for again; leave random transforms away",
        tmp_path,
    )
