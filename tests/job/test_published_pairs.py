"""The pairs that CIFAR papers compare: every loss trains, or says in a sentence what it cannot compare."""

from pathlib import Path

import numpy as np
import pytest
import torch

from kd_lab.errors import UserError
from kd_lab.job.doctor import pulls
from tests.contracts.loss_cases import NAMES, kind
from tests.job.composed import OF_TEXTS, plan

pytestmark = pytest.mark.slow

OF_CHANNELS = {"cwd", "fsp", "kdsvd", "pkd"}
"""These compare channel by channel, or matrices of channels: not two networks of other widths."""

ALONE = {name for name in NAMES if kind(name).deploys is not None}
FIRST_STAGE_ONLY = {"ab", "fsp"}

# Teacher, student, the losses that cannot compare these two.
PAIRS = [
    pytest.param("resnet32x4", "resnet8x4", set(), id="equal style, equal widths"),
    pytest.param("wrn_40_2", "wrn_40_1", OF_CHANNELS, id="equal style"),
    pytest.param("wrn_40_2", "shuffle_v1", OF_CHANNELS, id="other style, other resolutions"),
    pytest.param("vgg13", "mobilenet_v2", OF_CHANNELS, id="other style"),
]


@pytest.fixture
def line(tmp_path: Path) -> list[str]:
    random = np.random.default_rng(0)
    np.savez(tmp_path / "images.npz", X=random.random((24, 3, 32, 32), dtype=np.float32), y=np.arange(24) % 3)
    sizes = [f"{role}.recipe.batch_size=4" for role in ("student", "teacher", "baseline")]
    return ["dataset=arrays", f"dataset.path={tmp_path / 'images.npz'}", *sizes]


def gradients(overrides: list[str]) -> dict[str, float]:
    """What each term gives the student at the first step, by name."""
    made = plan(*overrides)
    assert made.built is not None
    torch.manual_seed(0)
    found = pulls(made, made.built.bound, made.built.student, made.built.teacher)
    assert all(np.isfinite(pull.value) for pull in found)
    return {pull.name: pull.gradient_norm for pull in found}


@pytest.mark.parametrize(("teacher", "student", "unfit"), PAIRS)
def test_pair__every_loss_pulls_at_the_student(line: list[str], teacher: str, student: str, unfit: set[str]) -> None:
    overrides = [*line, f"teacher={teacher}", f"student={student}"]
    fit = set(NAMES) - unfit - ALONE - OF_TEXTS

    found = gradients([*overrides, f"loss=[{','.join(sorted(fit))}]"])

    assert {"hard", *fit} - found.keys() <= FIRST_STAGE_ONLY
    assert not {name: norm for name, norm in found.items() if not 0 < norm < np.inf}
    for name in ALONE:
        assert gradients([*overrides, f"loss={name}"])[name] > 0


@pytest.mark.parametrize("name", sorted(OF_CHANNELS))
def test_pair__other_widths_are_refused_in_a_sentence(line: list[str], name: str) -> None:
    with pytest.raises(UserError, match=rf"^loss\.terms\.{name}: .*channels.* compared were .*block3 \[64, 8, 8\]"):
        plan(*line, "teacher=wrn_40_2", "student=wrn_40_1", f"loss={name}")
