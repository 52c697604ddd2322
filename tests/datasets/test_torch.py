import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, IterableDataset, TensorDataset
from torchvision.datasets import FakeData
from torchvision.transforms import ToTensor
from torchvision.transforms.v2 import functional as F

from kd_lab.augment.crop_flip import CropFlip
from kd_lab.datasets.common.samples import Indexed, Joined
from kd_lab.datasets.torch import TorchDataset
from kd_lab.errors import UserError
from kd_lab.types import Data, InMemory
from tests.contracts.feeds import all_of, same
from tests.feeds.test_streaming import SETTINGS, feed


def fake(size: int = 60, **more: Any) -> FakeData:
    return FakeData(size, (3, 12, 10), 3, **more)


def load(train: Any, **settings: Any) -> Data:
    return TorchDataset(train=train, **settings).load()


class Maps(Dataset[Any]):
    """Rows made of their number, as a user's dataset might give them."""

    def __init__(self, make: Any, count: int = 30) -> None:
        self.make, self.count = make, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, row: int) -> Any:
        return self.make(row)


class Streams(IterableDataset[Any]):
    def __init__(self, count: int | None = None) -> None:
        self.count = count

    def __iter__(self) -> Iterator[Any]:
        row = 0
        while self.count is None or row < self.count:
            yield np.full(4, row, np.float64), row % 3
            row += 1


def test_torch__pictures_and_their_labels() -> None:
    train, test = fake(), fake(24, random_offset=100)
    data = load(train, test=test, validation=6, labels=9)
    assert (data.name, data.num_classes, data.input_shape) == ("torch", 3, (3, 12, 10))
    assert (len(data.train), len(data.validation), len(data.test)) == (9, 6, 24)
    assert data.test.tolist() == list(range(60, 84))
    for row, (picture, label) in ((5, train[5]), (62, test[2])):
        assert torch.equal(data.read(torch.tensor([row]))[0], F.pil_to_tensor(picture))
        if row == 62:
            assert int(data.targets[row]) == int(label)
    torch.testing.assert_close(data.rows(torch.tensor([5])).batch(0, 1, "cpu")[0], ToTensor()(train[5][0]))


def test_torch__a_test_is_cut_from_train() -> None:
    data = load(fake(), test=0.25, validation=0.2)
    assert (len(data.train), len(data.validation), len(data.test)) == (36, 9, 15)


def test_torch__with_its_transform_floats_stay_as_they_are() -> None:
    train = fake(transform=ToTensor())
    data = load(train)
    assert data.prepare is None
    assert torch.equal(data.read(torch.tensor([7]))[0], train[7][0])


def test_torch__limit() -> None:
    assert len(load(fake(), limit=30, test=0.2).targets) == 30


@pytest.mark.slow
def test_torch__what_does_not_fit_in_memory_is_read_and_is_the_same() -> None:
    train, test = fake(), fake(24, random_offset=100)
    kept, read = (load(train, test=test, memory_mb=mb, augment=CropFlip(2)) for mb in (1, 0))
    assert isinstance(kept.source, InMemory)
    assert isinstance(read.source, Joined)
    assert torch.equal(kept.targets, read.targets)
    rows = torch.tensor([70, 3, 59, 60, 3])
    assert torch.equal(kept.read(rows), read.read(rows))
    assert torch.equal(pickle.loads(pickle.dumps(read.source)).read(rows), kept.read(rows))
    settings = {**SETTINGS, "augment": True}
    assert same(all_of(feed(read, 2, **settings)), all_of(feed(kept, 0, **settings)))


def test_torch__named_inputs() -> None:
    train = Maps(lambda row: ({"tokens": torch.arange(5) + row, "mask": np.ones(5, bool)}, np.int64(row % 3)))
    kept, read = (load(train, memory_mb=mb) for mb in (1, 0))
    rows = torch.tensor([4, 2])
    for data in (kept, read):
        found = data.read(rows)
        assert found["tokens"].tolist() == [[4, 5, 6, 7, 8], [2, 3, 4, 5, 6]]
        assert found["mask"].dtype == torch.bool
    assert data.input_shape == {"tokens": (5,), "mask": (5,)}


def test_torch__labels_that_it_names_are_taken_only_where_they_are_its_samples() -> None:
    asked: list[int] = []
    train = Maps(lambda row: (asked.append(row) or torch.zeros(400), (row + 1) % 3), 3000)
    train.targets = [(row + 1) % 3 for row in range(3000)]
    rows = Indexed("dataset.train", train, None)
    assert rows.targets().tolist() == train.targets
    assert len(asked) == 16
    train.targets = torch.tensor([row % 3 for row in range(3000)])
    assert rows.targets().tolist() == [(row + 1) % 3 for row in range(3000)]


def test_torch__iterable_with_a_limit_or_a_length() -> None:
    for train, settings in ((Streams(), {"limit": 30}), (Streams(30), {"limit": 90}), (list(Streams(30)), {})):
        data = load(train, **settings)
        assert len(data.targets) == 30
        assert data.read(torch.tensor([7])).tolist() == [[7.0] * 4]


@pytest.mark.slow
def test_torch__fingerprint_follows_content() -> None:
    one, other = fake(), fake(random_offset=1)
    assert load(one).fingerprint == load(fake()).fingerprint
    assert load(one).fingerprint != load(other).fingerprint
    assert load(one, memory_mb=0).fingerprint == load(fake(), memory_mb=0).fingerprint
    assert load(one, memory_mb=0).fingerprint != load(other, memory_mb=0).fingerprint


def refused(train: Any, message: str, **settings: Any) -> None:
    with pytest.raises(UserError, match=message):
        load(train, **settings)


def test_torch__random_transforms() -> None:
    refused(
        Maps(lambda row: (torch.rand(3), row % 3)),
        r"^dataset.train: sample 0 is another one when it is asked for again; leave random transforms away and choose "
        r"dataset/augment=NAME",
    )


def test_torch__iterable_without_an_end() -> None:
    refused(
        Streams(), r"^dataset.train: is iterable and does not say .*; it is read once, .* set dataset.limit=N to take"
    )
    big = Maps(lambda row: (torch.zeros(2**18), row % 3))
    refused(
        (big[row] for row in range(30)),
        r"the first 2 take more than dataset.memory_mb=1; raise that, or set dataset.limit=1 or less",
        memory_mb=1,
        limit=30,
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda row: torch.zeros(3), r"sample 0 is a Tensor, expected a pair of an input and a label"),
        (lambda row: (torch.zeros(3), 0.5), r"sample 0 has the label 0.5, expected a whole number from 0"),
        (lambda row: (torch.zeros(3), -1), r"sample 0 has the label -1, expected a whole number from 0"),
        (lambda row: (torch.zeros(3), "cat"), r"sample 0 has the label 'cat', expected a whole number from 0"),
        (
            lambda row: ("hello", 0),
            r"sample 0 is a str, expected a tensor, an array, a picture, or some of these by name",
        ),
        (
            lambda row: (torch.zeros(3 + row // 20), 0),
            r"sample 20 is \[4\] float32, but sample 0 \[3\] float32; expected",
        ),
        (lambda row: (torch.zeros(3), 0), r"all its samples are of one class, expected at least 2"),
        (lambda row: (torch.zeros(3), 2 * (row % 2)), r"class 1 has no labelled example left for training"),
        (lambda row: {}[row], r"sample 0 cannot be read \(KeyError: 0\)"),
    ],
)
def test_torch__samples_of_another_kind(make: Any, message: str) -> None:
    refused(Maps(make), rf"^dataset.train: {message}")


def test_torch__pictures_of_other_sizes() -> None:
    sized = Maps(lambda row: (Image.new("RGB", (10 + row % 2, 10)), row % 3))
    refused(
        sized, r"sample 1 is \[3, 10, 11\] uint8, but sample 0 \[3, 10, 10\] uint8; .*transform that resizes or pads"
    )


def test_torch__a_test_of_another_shape() -> None:
    test = TensorDataset(torch.zeros(6, 5), torch.arange(6) % 3)
    refused(
        TensorDataset(torch.zeros(30, 4), torch.arange(30) % 3),
        r"^dataset.test: its samples are \[5\] float32, but those of dataset.train \[4\] float32",
        test=test,
    )


def test_torch__a_test_of_other_classes() -> None:
    train, test, same_ones = fake(), fake(24), fake(24)
    train.classes, test.classes, same_ones.classes = ["ant", "bee", "cat"], ["ant", "cat", "dog"], ("ant", "bee", "cat")
    refused(
        train, r"^dataset.test: its 3 classes are not the 3 of dataset.train, .* is cat, not bee; expected", test=test
    )
    assert len(load(train, test=same_ones).test) == 24


def test_torch__no_dataset_at_all() -> None:
    refused(3, r"^dataset.train._target_: a int is no dataset for PyTorch; expected one with __getitem__")
    refused([], r"^dataset.train: is empty")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"test": 0}, r"Expected `test` to be > 0, but got 0"),
        ({"limit": 0}, r"Expected `limit` to be >= 1, or null for all, but got 0"),
        ({"memory_mb": -1}, r"Expected `memory_mb` to be >= 0, but got -1"),
    ],
)
def test_torch__settings_out_of_range(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TorchDataset(train=fake(), **settings)
