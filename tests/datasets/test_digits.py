import hashlib
from itertools import combinations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from kd_lab.augment.shift import Shift
from kd_lab.datasets.digits import Digits
from kd_lab.errors import UserError
from kd_lab.types import UNLABELLED


def _sha256(rows: torch.Tensor) -> str:
    return hashlib.sha256(np.sort(rows.numpy().astype(np.int64)).tobytes()).hexdigest()[:16]


def test_digits__parts_of_the_demo_are_those_of_the_reference_numbers() -> None:
    data = Digits().load()
    assert _sha256(data.test) == "5e3a7a586544e588"
    assert _sha256(data.train) == "fa3e180027e9b320"
    assert {1787, 616, 888, 159, 307} <= set(data.test.tolist())
    assert {1360, 1747, 278, 1357, 106} <= set(data.train.tolist())
    assert (len(data.test), len(data.train), len(data.transfer), len(data.validation)) == (600, 100, 1197, 0)


@pytest.mark.parametrize("seed", [1, 7])
def test_digits__other_seeds_are_train_test_split_too(seed: int) -> None:
    digits = load_digits().target
    pool, test = train_test_split(np.arange(1797), test_size=600, stratify=digits, random_state=seed)
    labelled, _ = train_test_split(pool, train_size=100, stratify=digits[pool], random_state=seed)
    data = Digits(seed=seed).load()
    assert data.test.tolist() == sorted(test)
    assert data.train.tolist() == sorted(labelled)


def test_digits__inputs_and_targets() -> None:
    data = Digits(labels=None).load()
    assert data.source.inputs.shape == (1797, 1, 8, 8)
    assert data.source.inputs.dtype == torch.float32
    assert np.array_equal(data.source.inputs.flatten(1).numpy(), (load_digits().data / 16).astype(np.float32))
    assert np.array_equal(data.targets.numpy(), load_digits().target)
    assert (data.num_classes, data.input_shape, data.name) == (10, (1, 8, 8), "digits")


def test_digits__ten_labels_of_each_class_and_the_others_hidden() -> None:
    data = Digits().load()
    assert torch.bincount(data.targets[data.train]).tolist() == [10] * 10
    hidden = sorted(set(data.transfer.tolist()) - set(data.train.tolist()))
    assert len(hidden) == 1097
    assert set(data.targets[hidden].tolist()) == {UNLABELLED}
    assert int(data.targets[data.test].min()) == 0


def test_digits__validation_is_cut_before_labels_are_hidden() -> None:
    data = Digits(labels=100, validation=200).load()
    assert _sha256(data.test) == "5e3a7a586544e588"
    assert (len(data.train), len(data.validation), len(data.transfer)) == (100, 200, 997)
    assert int(torch.bincount(data.targets[data.validation], minlength=10).min()) >= 19
    for one, other in combinations((data.transfer, data.validation, data.test), 2):
        assert not set(one.tolist()) & set(other.tolist())


def test_digits__all_labels_means_transfer_is_train() -> None:
    data = Digits(labels=None).load()
    assert torch.equal(data.train, data.transfer)
    assert len(data.train) == 1197


def test_digits__fingerprint_follows_the_parts_only() -> None:
    prints = {Digits().load().fingerprint, Digits(augment=Shift(1)).load().fingerprint}
    assert len(prints) == 1
    assert len(prints | {Digits(seed=1).load().fingerprint, Digits(labels=99).load().fingerprint}) == 3


def test_digits__more_labels_than_there_are() -> None:
    with pytest.raises(UserError, match=r"dataset.labels=1198: only 1197 labelled training points are there"):
        Digits(labels=1198).load()


def test_digits__fewer_labels_than_classes() -> None:
    with pytest.raises(UserError, match=r"dataset.labels=9: fewer than the 10 classes, choose at least one"):
        Digits(labels=9).load()


def test_digits__validation_larger_than_the_pool() -> None:
    with pytest.raises(UserError, match=r"dataset.validation=1197: there are only 1197 labelled training points"):
        Digits(validation=1197).load()


def test_digits__constructor_reads_nothing_and_checks_values() -> None:
    with pytest.raises(ValueError, match=r"Expected `labels` to be >= 1, or null for all, but got 0\."):
        Digits(labels=0)
    with pytest.raises(ValueError, match=r"Expected `validation` to be >= 0, but got -1\."):
        Digits(validation=-1)
    with pytest.raises(ValueError, match=r"Expected `seed` to be from 0 to 4294967295, but got -1\."):
        Digits(seed=-1)
