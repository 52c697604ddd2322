"""The first hour of five kinds of people, replayed: what each typed that made them stop, or believe something wrong.

Every step is a command and what must be read after it; what only an eye can judge is looked at by hand.
"""

import csv
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest

from tests.integration.conftest import Said
from tests.integration.processes import finish, of_role, start, the_run

pytestmark = pytest.mark.slow

Command = Callable[..., Said]
QUICK = ["measure.latency_runs=5", "measure.latency_warmup=1", "measure.figures=false"]
BRIEF = [*QUICK, "teacher.recipe.steps=40", "student.recipe.steps=60", "student.recipe.batch_size=32"]


class Hour:
    """Commands one after another, and what is read of each."""

    def __init__(self, command: Command) -> None:
        self._command = command

    def reads(self, line: str, *texts: str, more: list[str] | None = None) -> str:
        """It works, and all these are to be read."""
        code, out, err = self._command(line, *(more or []))
        assert code == 0, f"{line}: {err}"
        told = " ".join((out + err).split())
        for text in texts:
            assert text in told, f"{line}: expected {text!r} in\n{out}{err}"
        return out

    def refused(self, line: str, message: str, *, more: list[str] | None = None) -> None:
        """Exit code 2 and this one sentence."""
        code, _, err = self._command(line, *(more or []))
        assert code == 2, f"{line}: exit code {code}"
        (sentence,) = err.strip().splitlines()
        assert re.search(message, sentence), sentence


@pytest.fixture
def hour(kd_lab: Command) -> Hour:
    return Hour(kd_lab)


def test_newcomer(hour: Hour, small: list[str], tmp_path: Path) -> None:
    hour.reads("--help", "kd-lab [KEY=VALUE ...]", "kd-lab list", "kd-lab compare")
    hour.refused("lst", r"^kd-lab: lst: no such command.*did you mean list\?")
    hour.reads("list", "dataset", "digits", "loss", "kd")
    hour.refused("dataset=synthetic temperature=4", r"did you mean loss.temperature\?")
    hour.refused("compare", r"there are no studies with students yet; run kd-lab first")
    hour.reads(
        "dataset=synthetic",
        "synthetic: 20 float32, 10 classes",
        "test samples (commonest class",
        "The distilled student",
        "One seed is an anecdote; the spread: kd-lab -m seed=0,1,2,3,4",
        "See them: kd-lab ui",
        more=small,
    )
    student = the_run(tmp_path, "student").info.run_id
    hour.reads(f"evaluate run={student[:8]}", "accuracy")
    alone = hour.reads("compare synthetic", "not tested")
    assert "not distinguishable" not in alone
    hour.reads("-m dataset=synthetic seed=0,1,2", "seed=2", "gain", "verdict", more=small)
    three = hour.reads("compare", "kd")
    (shown,) = [line for line in three.splitlines() if re.match(r"\s*kd\s+3\s", line)]
    low, high = map(float, re.findall(r"\[(\d+\.\d+), (\d+\.\d+)\]", shown)[0])
    assert 0 <= low < high <= 100
    hour.reads("-m dataset=synthetic seed=0,0", "seed=0,0: 0 stands there 2 times, and is run once", more=small)
    hour.reads("dataset=synthetic study=für Elise".replace("für Elise", "'für Elise'"), "study für Elise", more=small)
    hour.refused("compare", r"synthetic.*für Elise|für Elise.*synthetic")


def test_vision_researcher(hour: Hour, tmp_path: Path) -> None:
    hour.refused("dataset=mnist dataset.path=./mnst", r"dataset.path=./mnst: .*dataset.download=true")
    assert not (tmp_path / "mnst").exists()
    hour.refused("dataset=mnist student=densenet121", r"a network of timm is student=timm student.name=densenet121")
    hour.refused("student.weights=pretrained", r"only teacher has weights; did you mean teacher.weights\?")
    hour.refused("student=resnet8x5", r"student=resnet8x5: no such student; did you mean resnet8x4\?")
    hour.reads("list dataset", "cifar10", "cifar100", "fashion_mnist", "mnist")
    hour.reads("list loss=dkd", "alpha", "beta", "temperature", "kd-lab loss=dkd")
    told = hour.reads("doctor loss=at student=cnn student.channels=[4,8]", "digits: 1x8x8", "at")
    assert "Traceback" not in told
    assert sorted(path.name for path in tmp_path.iterdir()) == []


def _table(folder: Path, rows: int = 240) -> None:
    """Two classes, 7 to 3, told by a feature of small numbers beside one of up to 18,424, and a table of its own
    for validation: a table as they come."""
    random = np.random.default_rng(0)
    y = (np.arange(rows) % 10 >= 7).astype(np.int64)
    X = np.stack([y + random.normal(0, 0.3, rows), random.uniform(0, 18_424, rows)], 1).astype(np.float32)
    X[0, 1] = 18_424
    parts = {"X": X[:140], "y": y[:140], "X_val": X[140:180], "y_val": y[140:180], "X_test": X[180:], "y_test": y[180:]}
    np.savez(folder / "my.npz", **parts)
    np.savez(folder / "new.npz", X=X[180:])


def test_compression_engineer_with_a_table(hour: Hour, small: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "jörg's a=b"
    folder.mkdir()
    _table(folder)
    data = f"dataset=arrays dataset.path={folder.name}/my.npz".split(" ", 2)
    data = ["dataset=arrays", f"dataset.path={folder.name}/my.npz", "teacher=mlp", *BRIEF]
    hour.refused("dataset=arrays dataset.path=nowhere.npz", r"dataset.path=nowhere.npz: cannot read the file")
    hour.reads(
        "study=raw",
        "140 labelled",
        "40 for validation, 60 for the test",
        "(commonest class 70.0%)",
        "balanced accuracy",
        "The teacher answers one class only, whatever it sees: 70.00%.",
        "The student alone answers one class only",
        "too few on these test samples to tell a share of",
        "The student is not smaller than its teacher",
        "to 18,424, not standardised: dataset.standardize=true",
        more=data,
    )
    said = hour.reads("study=scaled dataset.standardize=true loss.class_weights=balanced", "AUROC", more=data)
    assert "not standardised" not in said
    assert "answers one class only" not in said
    student = the_run(tmp_path, "student", "scaled")
    rows = list(
        csv.DictReader(io.StringIO(hour.reads("predict", more=[f"run={student.info.run_id[:7]}", f"{folder}/new.npz"])))
    )
    assert len(rows) == 60
    right = np.mean([int(row["predicted"]) == (180 + i) % 10 // 7 for i, row in enumerate(rows)])
    assert right == pytest.approx(student.data.metrics["test/accuracy_top1"])
    hour.refused(
        "study=scaled dataset.validation=20", r"dataset.validation=20: .*holds X_val already, leave it away", more=data
    )


TEXTS = '''
import torch
from torch import nn

from kd_lab.datasets.common.splits import SplitSettings, assemble, cut, stratified


class Texts:
    """Sentences of six words; a class is told by whether the first word is in the upper half of the vocabulary."""

    def __init__(self, words: int = 40, seed: int = 0) -> None:
        self.words, self.seed = words, seed

    def load(self):
        ids = torch.randint(self.words, (300, 6), generator=torch.Generator().manual_seed(3))
        targets = (ids[:, 0] >= self.words // 2).long()
        pool, test = stratified(targets, torch.arange(300), 200, self.seed, "dataset.seed")
        targets, parts = cut(targets, pool, test, 2, SplitSettings(None, 0, self.seed))
        return assemble("texts", ids, targets, parts, num_classes=2, augment=None)


class Bag(nn.Module):
    def __init__(self, num_classes: int, words: int = 40, width: int = 8) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, width)
        self.classifier = nn.Linear(6 * width, num_classes)

    def forward(self, ids):
        assert not ids.is_floating_point()
        return self.classifier(self.embedding(ids).flatten(1))
'''


def test_text_person(hour: Hour, small: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text(TEXTS)
    nets = ["teacher._target_=mine.Bag", "teacher.width=32", "student._target_=mine.Bag", "student.width=4", *BRIEF]
    hour.refused("dataset._target_=mine.Bag", r"dataset._target_=mine.Bag: .*expected a class with load\(\)")
    hour.refused("dataset._target_=mine.Texts student._target_=mine.Bagg", r"student._target_=mine.Bagg: cannot be imp")
    out = hour.reads("dataset._target_=mine.Texts", "texts: 6 int64, 2 classes", "MACs per sample", more=nets)
    assert "not standardised" not in out
    (run,) = of_role(tmp_path, "student", "custom")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setenv("KD_LAB_TRUST", "mine")
    answered: Any = mlflow.pyfunc.load_model(f"runs:/{run.info.run_id}/model").predict(np.zeros((3, 6), np.int64))
    assert np.asarray(answered).shape == (3, 2)


def test_somebody_in_a_hurry(hour: Hour, small: list[str], tmp_path: Path) -> None:
    few = ["dataset=synthetic", *small]
    process = start(tmp_path, *few)
    code, out, err = finish(process)
    assert code == 0, err
    assert "\x1b" not in out + err  # nothing but text, where no terminal is
    assert re.search(r"^teacher: begun$", out, re.MULTILINE)
    assert re.search(r"^teacher: finished in \S+ s, accuracy \d+\.\d\d%$", out, re.MULTILINE)
    hour.reads("study=null", "study synthetic", "found again", more=few)
    teacher = the_run(tmp_path, "teacher").info.run_id
    hour.reads(
        f"teacher=cnn teacher.weights=run:{teacher[:8]}",
        "that teacher= chooses is not used",
        more=[*few[:1], *QUICK, "student.recipe.steps=60"],
    )
    hour.refused("evaluate run=zz", r"run:zz: there is no such run")
    hour.refused("ui port=99999", r"port=99999")
    hour.refused("compare synthetic --out mlflow.db", r"--out")
    for wrong in ("sweep=losses", "-m sweep=losse"):
        hour.refused(wrong, r"sweep=losse?s?: ")
