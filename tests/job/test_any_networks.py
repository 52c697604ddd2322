"""Losses of layers between networks of every kind: they train, or say in a sentence what does not fit."""

from pathlib import Path

import numpy as np
import pytest
import torch

from kd_lab.errors import UserError
from kd_lab.job.doctor import pulls
from kd_lab.job.ready import ready
from kd_lab.job.settings import Settings
from tests.contracts.loss_cases import NAMES, kind
from tests.job.composed import config

pytestmark = pytest.mark.slow

OF_LAYERS = [name for name in NAMES if kind(name).layers is not None]
COLOUR, SEQUENCE = (3, 32, 32), (12, 6)
RESNET, VIT = "{}=timm {}.name=resnet10t", "{}=timm {}.name=vit_tiny_patch16_224"
MOBILE, RNN, CNN = "{}=torchvision {}.name=mobilenet_v2", "{}=rnn", "{}=cnn"

OF_VECTORS = {"cc", "crd", "itrd", "pkt", "rkd", "simkd", "sp", "srd", "srrl"}
"""These can compare a sequence with a map, or take the vectors before the classifiers."""

OF_TEXTS = {"minilm", "tinybert"}
"""These compare what the attention of a transformer is made of."""

# Networks (student, teacher), the data's shape, and the losses that cannot compare these two.
NETWORKS = {
    "cnn from cnn of another family": (
        MOBILE,
        RESNET,
        COLOUR,
        {"cwd", "fsp", "kdsvd", "pkd", "catkd", "ofd", "patient"} | OF_TEXTS,
    ),
    "transformer from cnn": (VIT, RESNET, COLOUR, {"cwd", "fsp", "kdsvd", "pkd", "catkd", "ofd", "patient"} | OF_TEXTS),
    "transformer from transformer": (VIT, VIT, COLOUR, {"catkd", "ofd"} | OF_TEXTS),
    "recurrence from recurrence": (RNN, RNN, SEQUENCE, {"fsp", "kdsvd", "catkd", "ofd"} | OF_TEXTS),
    "recurrence from cnn": (RNN, CNN, (1, 8, 8), set(OF_LAYERS) - OF_VECTORS),
}


def file_name(networks: str) -> str:
    return f"{networks.replace(' ', '_')}.npz"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a file of samples for each two networks."""
    made = tmp_path_factory.mktemp("samples")
    random = np.random.default_rng(0)
    for networks, (_, _, shape, _) in NETWORKS.items():
        np.savez(made / file_name(networks), X=random.random((60, *shape), dtype=np.float32), y=np.arange(60) % 3)
    return made


@pytest.mark.parametrize("networks", NETWORKS)
@pytest.mark.parametrize("name", OF_LAYERS)
def test_networks__are_compared_or_a_sentence_says_why_not(folder: Path, networks: str, name: str) -> None:
    student, teacher, _, unfit = NETWORKS[networks]
    line = f"{student.format('student', 'student')} {teacher.format('teacher', 'teacher')}".split()
    small = ["student.recipe.batch_size=8", "baseline.recipe.batch_size=8", "teacher.recipe.batch_size=8"]
    asked = config("dataset=arrays", f"dataset.path={folder / file_name(networks)}", *line, *small)
    asked["loss"] = config("dataset=arrays", f"loss={name}")["loss"]
    if name in unfit:
        with pytest.raises(UserError, match=rf"^loss\.terms\.{name}: "):
            ready(Settings.of(asked))
        return
    made = ready(Settings.of(asked))
    assert made.built is not None
    torch.manual_seed(0)

    found = {pull.name: pull for pull in pulls(made, made.built.bound, made.built.student, made.built.teacher)}

    if name in found:  # else it has a first stage alone
        assert np.isfinite(found[name].value)
        assert found[name].gradient_norm > 0
