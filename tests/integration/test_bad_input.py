"""Wrong input: exit code 2, one sentence with the key, the value and what was expected, and nothing written."""

import pickle
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.integration.processes import the_run

Command = Callable[..., "object"]

BY_CONFIG = [
    ("loss=kdd", r"loss=kdd: no such loss; did you mean kd\?"),
    ("teacher=cnnn", r"teacher=cnnn: no such teacher; did you mean cnn\?"),
    ("teacher/member=foo", r"teacher/member=foo: no such member; expected one of .*mlp"),
    ("student/recipe/schedule=foo", r"student/recipe/schedule=foo: no such schedule; expected one of .*cosine"),
    ("experiment=foo", r"experiment=foo: no such experiment; expected one of article"),
    ("student.recipe.epoch=3", r"student.recipe.epoch=3: no such key; did you mean student.recipe.epochs\?"),
    ("datasett=mnist", r"datasett=mnist: no such key; did you mean dataset\?"),
    ("loss=KD", r"loss=KD: no such loss; did you mean kd\?"),
    ("Loss=kd", r"Loss=kd: no such key; did you mean loss\?"),
    ("SEED=1", r"SEED=1: no such key; did you mean seed\?"),
    ("temperature=4", r"temperature=4: no such key; did you mean loss.temperature\?"),
    ("batch_size=3", r"batch_size=3: .*did you mean student.recipe.batch_size or teacher.recipe.batch_size\?$"),
    ("student.lr=0.1", r"student.lr=0.1: no such key; did you mean student.recipe.optimizer.lr\?$"),
    ("student.optimizer=sgd", r"did you mean student/recipe/optimizer\?$"),
    ("student.weights=pretrained", r"only teacher has weights; did you mean teacher.weights\?$"),
    ("dataset.path=my.npz", r"dataset.path is a setting of dataset=anndata, dataset=arrays, .* and others$"),
    ("student.name=resnet18", r"student.name is a setting of student=hf, student=timm or student=torchvision$"),
    ("path=my.npz", r"path=my.npz: no such key; dataset.path of dataset=anndata, dataset=arrays, .* and others$"),
    ("student=cnn student.widths=[8]", r"student.widths is a setting of student=fcn or student=mlp"),
    ("student=densenet121", r"a network of timm is student=timm student.name=densenet121; a network of torchvision is"),
    ("teacher/member=densenet121", r"a network of timm is teacher/member=timm teacher.member.name=densenet121"),
    ("compar", r"compar: no such command.*did you mean compare\?"),
    ("Compare", r"Compare: no such command.*did you mean compare\?"),
    ("loss.temprature=2", r"loss.temprature=2: loss=kd has no such key; did you mean temperature\?"),
    ("+student.width=3", r"student.width=3: MLP has no such argument; did you mean widths\?"),
    ("loss.temperature=0", r"loss.terms.kd.temperature=0.0: expected > 0"),
    ("loss.temperature=-1", r"loss.terms.kd.temperature=-1.0: expected > 0"),
    ("loss.terms.kd.weight=-1", r"loss.terms.kd.weight=-1: expected a finite number of 0 or more"),
    ("loss.hard_weight=-0.5", r"loss.hard_weight=-0.5: expected a finite number of 0 or more"),
    ("loss.weight=0 loss.hard_weight=0", r"loss.hard_weight=0: all weights are zero; expected at least one above 0"),
    ("student=timm student.name=resnet81", r"student.name=resnet81: expected a network of timm; did you mean resnet"),
    ("student=torchvision student.name=resnett18", r"student.name=resnett18: expected a network of torchvision"),
    ("student._target_=nowhere.Net", r"student._target_=nowhere.Net: cannot be imported .*expected the dotted path"),
    ("student._target_=json.nothing", r"student._target_=json.nothing: cannot be imported"),
    ("student.recipe.optimizer.lr=abc", r"student.recipe.optimizer.lr=abc: expected a valid number"),
    ("student.recipe.optimizer.lr=-1", r"student.recipe.optimizer: Invalid learning rate: -1"),
    ("student.recipe.batch_size=0", r"student.recipe.batch_size=0: expected a value greater than 0"),
    ("student.recipe.batch_size=1198", r"student.recipe.batch_size=1198: larger than the 1197 samples"),
    ("teacher.recipe.batch_size=101", r"teacher.recipe.batch_size=101: larger than the 100 samples"),
    ("student.recipe.precision=8", r"student.recipe.precision=8: expected '32', 'bf16-mixed' or '16-mixed'"),
    ("student.recipe.steps=3 student.recipe.epochs=2", r"expected one of the two, the other null"),
    ("student.without_classes=[3]", r"student.without_classes=\[3\]: 1097 of 1197 training points have no label"),
    ("student.without_classes=3", r"student.without_classes=3: expected a valid list"),
    (
        "student.without_classes=[10] dataset.labels=null",
        r"student.without_classes=\[10\]: expected classes from 0 to 9, but got 10",
    ),
    ("dataset.labels=5000", r"dataset.labels=5000: only 1197 labelled training points are there"),
    ("teacher=none", r"teacher=none: loss=kd needs a teacher"),
    ("student=none", r"student=none: expected a network to train"),
    ("seed=-1", r"seed=-1: expected a whole number"),
    ("dataset=arrays", r"dataset.path: a value is missing; expected dataset.path=..."),
    (
        "dataset=synthetic teacher=cnn",
        r"teacher: Expected `input_shape` of cnn to be an image .*but got \(20,\): .*choose mlp",
    ),
    (
        "loss=mlld dataset=synthetic teacher=mlp",
        r"loss.terms.mlld: Expected images .* choose a dataset of images",
    ),
    ("teacher.weights=no.pt", r"teacher.weights=no.pt: expected a file, but there is none"),
    ("teacher.weights=run:0123", r"tracking.uri=sqlite:///mlflow.db: there is no file"),
    ("tracking.uri=http://127.0.0.1:9", r"tracking.uri=http://127.0.0.1:9: no MLflow server answers there"),
    ("tracking.uri=ftp://x", r"tracking.uri=ftp://x: expected sqlite:///FILE or the http"),
    ("'loss.temperature=choice(ä,b)'", r"^kd-lab: loss.temperature=choice\(ä,b\): cannot be read; expected quotes"),
    ("'a b'", r"a b: expected an override of the form key=value"),
    (
        "'loss=[kd,soft_label]' loss.temperature=3",
        r"loss.temperature=3: say whose, such as loss.terms.kd.temperature=3",
    ),
    ("loss.schedules.temperature=cosin", r"schedule=cosin: no such schedule; did you mean cosine\?"),
    ("loss.terms.kd.schedules.temprature=cosine", r"move one of weight, temperature, but got temprature"),
    (
        "loss.schedules.temperature={_target_:math.nothing}",
        r"loss.terms.kd.schedules.temperature._target_=math.nothing",
    ),
    (
        "loss=at",
        r"loss.terms.at: expected maps or sequences to compare, but the student has none; its layers: layers.0",
    ),
    ("loss=simkd", r"loss.terms.simkd: the teacher has no single linear classifier that gives its logits"),
    ("teacher.weights=pretrained", r"teacher.weights=pretrained: .*Ensemble has no published weights"),
]


def refused(said: object, message: str, folder: Path, *before: str) -> None:
    code, _, err = said  # type: ignore[misc]
    assert code == 2, err
    assert "Traceback" not in err
    lines = err.strip().splitlines()
    assert len(lines) == 1, err
    assert lines[0].startswith("kd-lab: ")
    assert re.search(message, lines[0]), lines[0]
    assert sorted(p.name for p in folder.iterdir()) == sorted(before)


@pytest.mark.slow
@pytest.mark.parametrize(("overrides", "message"), BY_CONFIG, ids=[o for o, _ in BY_CONFIG])
def test_bad_input__config(kd_lab: Command, tmp_path: Path, overrides: str, message: str) -> None:
    refused(kd_lab(overrides), message, tmp_path)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_bad_input__gpu_where_there_is_none(kd_lab: Command, tmp_path: Path) -> None:
    refused(kd_lab("trainer=gpu"), r"trainer.accelerator=gpu: expected a CUDA GPU.*choose trainer=cpu", tmp_path)


def test_bad_input__class_with_other_class_count(kd_lab: Command, tmp_path: Path) -> None:
    (tmp_path / "seven_classes.py").write_text(
        "from torch import nn\n\ndef Net():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 7))\n"
    )
    said = kd_lab("student._target_=seven_classes.Net")
    code, _, err = said  # type: ignore[misc]
    assert code == 2
    assert "student: expected logits of shape [batch, 10]" in err
    assert "gave [2, 7]" in err


def _arrays(**change: object) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    arrays: dict[str, object] = {"X": random.standard_normal((60, 4)).astype(np.float32), "y": np.arange(60) % 3}
    return {k: np.asarray(v) for k, v in (arrays | change).items() if v is not None}


BY_FILE = {
    "missing": (None, r"dataset.path=my.npz: cannot read the file"),
    "empty": (b"", r"dataset.path=my.npz: .*empty"),
    "not npz": (b"hello, I am text", r"dataset.path=my.npz: "),
    "truncated": ("truncated", r"dataset.path=my.npz: "),
    "pickled objects": (_arrays(X=np.array([{}] * 60, dtype=object)), r"dataset.path=my.npz: "),
    "no y": (_arrays(y=None), r"dataset.path=my.npz: .*X"),
    "lengths differ": (_arrays(y=np.arange(59) % 3), r"dataset.path=my.npz: y has 59 labels for 60 points"),
    "NaN": (_arrays(X=np.where(np.arange(240).reshape(60, 4) == 17, np.nan, 1.0)), r"dataset.path=my.npz: .*1 .*row 4"),
    "float labels": (_arrays(y=(np.arange(60) % 3) / 2), r"dataset.path=my.npz: .*float"),
    "label below -1": (_arrays(y=np.arange(60) % 3 - 2), r"dataset.path=my.npz: .*-2"),
    "class without example": (_arrays(y=np.where(np.arange(60) % 3 == 1, 0, np.arange(60) % 3)), r".*class.* 1"),
}


@pytest.mark.parametrize("case", list(BY_FILE))
def test_bad_input__file(kd_lab: Command, tmp_path: Path, case: str) -> None:
    content, message = BY_FILE[case]
    file = tmp_path / "my.npz"
    if isinstance(content, dict):
        np.savez(file, **content)
    elif content == "truncated":
        np.savez(file, **_arrays())
        file.write_bytes(file.read_bytes()[:300])
    elif isinstance(content, bytes):
        file.write_bytes(content)
    before = ["my.npz"] if content is not None else []
    refused(kd_lab("dataset=arrays dataset.path=my.npz teacher=mlp"), message, tmp_path, *before)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"loss.terms=null: expected the settings of a loss"),
        ("a:\n\t- b\n", r"loss=mine: its YAML cannot be read \(.*line 2, column 1\)"),
        ("a: " + "[" * 3000, r"loss=mine: its YAML cannot be read \(it is nested too deeply\)"),
        ("a: !!python/object/apply:os.system [touch owned]", r"loss=mine: its YAML cannot be read \(.*os\.system"),
    ],
    ids=["empty", "tab", "deep", "code"],
)
def test_bad_input__yaml_of_ones_own(kd_lab: Command, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "own" / "loss").mkdir(parents=True)
    (tmp_path / "own" / "loss" / "mine.yaml").write_text(text)
    refused(kd_lab(f"--config-dir={tmp_path / 'own'} loss=mine dataset=synthetic"), message, tmp_path, "own")


def _teacher_file(folder: Path, case: str) -> str:
    if case == "does not fit":
        save_file({"layers.weight": torch.zeros(3)}, folder / "t.safetensors")
        return "t.safetensors"
    if case == "corrupt":
        (folder / "t.safetensors").write_bytes(b"\x00" * 40)
        return "t.safetensors"
    if case == "needs pickle":
        with (folder / "t.pt").open("wb") as file:
            pickle.dump({"anything": Path("x")}, file)
        return "t.pt"
    torch.save({"x": Path("x")}, folder / "t.pt")
    return "t.pt"


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("does not fit", r"teacher.weights=t.safetensors: .*(fit|expected)"),
        ("corrupt", r"teacher.weights=t.safetensors: "),
        ("needs pickle", r"teacher.weights=t.pt: "),
        ("holds objects", r"teacher.weights=t.pt: expected weights only"),
    ],
)
def test_bad_input__teacher_file(kd_lab: Command, tmp_path: Path, case: str, message: str) -> None:
    name = _teacher_file(tmp_path, case)
    refused(kd_lab(f"teacher=mlp teacher.weights={name}"), message, tmp_path, name)


def test_teacher__of_a_run_by_its_first_characters_is_told(kd_lab: Command, tmp_path: Path, done: list[str]) -> None:
    teacher = the_run(tmp_path, "teacher").info.run_id
    code, out, err = kd_lab(f"doctor dataset=synthetic teacher=cnn teacher.weights=run:{teacher[:6]}")  # type: ignore[misc]
    assert code == 0, err
    kept = f"the teacher is what run:{teacher[:8]} kept, mlp 32; the network that teacher= chooses is not used"
    assert out.startswith(f"{kept}\nsynthetic: 20 float32, 10 classes")
    assert "\nteacher: mlp 32, " in out
    assert f"The teacher is that of run:{teacher}." in out


@pytest.mark.slow
def test_store__that_the_environment_names_is_used_or_told(
    kd_lab: Command, tmp_path: Path, done: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:9")
    told = "MLFLOW_TRACKING_URI=http://***@127.0.0.1:9 is set and not used: the store is sqlite:///mlflow.db; "
    for line in ("doctor dataset=synthetic", "compare synthetic", "evaluate run=ffffff"):
        assert kd_lab(line).err.startswith(told)  # type: ignore[attr-defined]
    assert told not in kd_lab("doctor dataset=synthetic tracking.uri=sqlite:///other.db").err  # type: ignore[attr-defined]
    assert "tracking.uri=http://127.0.0.1:9: no MLflow server" in kd_lab("tracking=server").err  # type: ignore[attr-defined]


def test_bad_input__teacher_run_of_another_dataset(kd_lab: Command, tmp_path: Path, done: list[str]) -> None:
    teacher = the_run(tmp_path, "teacher").info.run_id
    code, _, err = kd_lab(f"teacher.weights=run:{teacher}", *done)  # type: ignore[misc]
    assert code == 2
    assert f"teacher.weights=run:{teacher}: that network was trained for an input shape of (20,)" in err
