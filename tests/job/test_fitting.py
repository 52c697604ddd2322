"""Datasets of one's own, and the default teacher on what is no image."""

import sys
from pathlib import Path

import pytest

from kd_lab.errors import UserError
from kd_lab.job import notes
from kd_lab.job.fitting import MLP, dataset_of, fitting, loaded
from tests.job.composed import plan

OWN = """
from kd_lab.datasets.synthetic import Synthetic


class Data(Synthetic):
    def __init__(self, *, points: int = 400):
        super().__init__(labels=points)


class Images:
    def __getitem__(self, row):
        return row, 0

    def __len__(self):
        return 3


class Other:
    pass


class Loads:
    def load(self):
        return [1, 2]
"""


@pytest.fixture(autouse=True)
def _own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_data.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "own_data", raising=False)


def test_dataset__of_ones_own_by_one_override() -> None:
    made = plan("dataset._target_=own_data.Data", "dataset.points=300", "study=x")
    assert len(made.data.train) == 300


@pytest.mark.parametrize("name", ["own_data.Images", "torchvision.datasets.CIFAR10", "torch.utils.data.TensorDataset"])
def test_dataset__of_pytorch__says_what_to_do(name: str) -> None:
    match = rf"^dataset._target_={name}: is a PyTorch dataset; take it as dataset=torch dataset.train._target_={name}$"
    with pytest.raises(UserError, match=match):
        dataset_of("dataset", {"_target_": name})


def test_dataset__without_load__says_what_to_do() -> None:
    match = (
        r"^dataset._target_=own_data.Other: has no load\(\); expected .* kd_lab.types.Data; or save .* dataset=arrays"
    )
    with pytest.raises(UserError, match=match):
        dataset_of("dataset", {"_target_": "own_data.Other"})


def test_dataset__load_gives_something_else() -> None:
    with pytest.raises(UserError, match=r"Loads: load\(\) gave a list, expected a kd_lab.types.Data$"):
        loaded("dataset", dataset_of("dataset", {"_target_": "own_data.Loads"}))


def test_loss__of_ones_own_by_one_override(tmp_path: Path) -> None:
    (tmp_path / "own_loss.py").write_text(
        "from kd_lab.losses.kd import KD\n\n\nclass Mine(KD):\n    def __init__(self, *, t: float = 1.0):\n"
        "        super().__init__(temperature=t)\n"
    )
    made = plan("dataset=synthetic", "loss._target_=own_loss.Mine", "loss.t=3", "loss.weight=0.5")
    assert made.built is not None
    assert made.built.bound.objective.losses["custom"].temperature == 3
    assert made.settings.loss.terms["custom"].weight == 0.5


def test_teacher__default_on_vectors_is_of_mlps_and_told() -> None:
    made = plan("dataset=synthetic")
    assert made.specs.teacher is not None
    assert made.specs.teacher.node["member"] == MLP
    assert notes.described(made) == [
        "the teacher is 3 x mlp 128 in the place of 3 x cnn: samples of shape [20] are no images"
    ]
    assert made.in_effect({"teacher": {"size": 3, "seed": 1}})["teacher"]["seed"] == 1
    assert made.in_effect({"teacher": {"size": 3}})["teacher"]["member"] == MLP


def test_teacher__on_images_is_what_was_chosen() -> None:
    made = plan("dataset=digits")
    assert made.specs.teacher is not None
    assert made.specs.teacher.node["member"]["_target_"] == "kd_lab.models.cnn.CNN"
    assert notes.described(made) == []


def test_fitting__only_the_default_teacher_changes() -> None:
    cnn = {"_target_": "kd_lab.models.cnn.CNN", "hidden": 8}
    assert fitting(cnn, (20,)) == cnn
    assert fitting({"size": 2, "member": cnn}, (1, 8, 8)) == {"size": 2, "member": cnn}
    assert fitting({"size": 2, "member": cnn}, (8, 8)) == {"size": 2, "member": MLP}


@pytest.mark.parametrize("changes", [{}, {"dataset.labels": 70}])
def test_default_teacher__texts(changes: dict[str, int]) -> None:
    rows = [f"{'good' if n % 2 else 'bad'} number {n},{'pos' if n % 2 else 'neg'}" for n in range(100)]
    Path("texts.csv").write_text("\n".join(["text,label", *rows]))
    made = plan(
        "dataset=text",
        "dataset.path=texts.csv",
        "student=bag_of_embeddings",
        *(f"{key}={value}" for key, value in changes.items()),
    )
    assert made.built is not None
    assert made.built.teacher is not None
    assert [type(one).__name__ for one in made.built.teacher.members] == ["TextCNN"] * 3
    assert notes.described(made) == [
        "the teacher is 3 x text_cnn in the place of 3 x cnn: samples of input_ids, attention_mask are no images"
    ]


@pytest.mark.parametrize("network", ["mlp", "cnn", "rnn"])
def test_networks__of_one_tensor__are_refused_for_texts(network: str) -> None:
    Path("texts.csv").write_text("text,label\n" + "good,pos\nbad,neg\n" * 50)
    with pytest.raises(
        UserError, match=r"^student\.input_shape=input_ids, .*expected that of one tensor; choose .*text_cnn"
    ):
        plan("dataset=text", "dataset.path=texts.csv", "teacher=text_cnn", f"student={network}")
