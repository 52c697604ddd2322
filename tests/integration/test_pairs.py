"""One pair of the CIFAR-100 table from its files to `kd-lab compare`, with the real networks and very few steps."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from kd_lab import names
from kd_lab.analysis.runs import runs
from kd_lab.store.reading import reading
from tests.datasets.cifar_files import as_python, cifar100, write

pytestmark = pytest.mark.slow

PAIR = "cifar100/resnet56_resnet20"
FEW = "teacher.recipe.steps=2 student.recipe.steps=2 teacher.recipe.batch_size=16 student.recipe.batch_size=16"
QUICK = "measure.latency_runs=2 measure.latency_warmup=1 measure.figures=false"


@pytest.fixture
def line(tmp_path: Path) -> str:
    write(tmp_path / "data" / "cifar-100-python", as_python(cifar100(per_class=1)))
    return f"experiment={PAIR} dataset.path={tmp_path / 'data'} {FEW} {QUICK}"


def test_pair__several_losses_and_what_was_published_beside(
    kd_lab: Callable[..., Any], line: str, tmp_path: Path
) -> None:
    done = kd_lab(f"-m loss=kd,dkd,review {line}")
    assert done.code == 0, done

    found = runs("cifar100", "sqlite:///mlflow.db")
    students = found[found["role"] == names.STUDENT].set_index("loss")
    assert dict(students["experiment"]) == dict.fromkeys(("kd", "dkd", "review"), PAIR)
    with reading("sqlite:///mlflow.db") as reader:
        tags = {record.run_id: record.tags for record in reader.of_ids(list(found["run_id"]))}
    published = {loss: tags[run].get(names.TAG_PUBLISHED) for loss, run in students["run_id"].items()}
    assert published == {"kd": None, "dkd": "dkd beta=2", "review": "review weight=0.6"}
    assert found.loc[found["role"] != names.STUDENT, "experiment"].isna().all()

    told = kd_lab("compare cifar100 --out results")
    assert told.code == 0, told
    assert "published" in told.out
    assert "dkd: best epoch, mdistiller's README (Zhao 2022)" in " ".join(told.out.split())
    assert "with student.recipe.steps=2" in " ".join(told.out.split())
    arms = pd.read_csv(tmp_path / "results" / "arms.csv").set_index("loss")
    assert arms["published"].round(4).to_dict() == {"kd": 0.7066, "dkd": 0.7197, "review": 0.7189}
    assert "by others, not measured here" in (tmp_path / "results" / "comparison.html").read_text()
    assert "| 71.97 |" in (tmp_path / "results" / "comparison.md").read_text()


def test_pair__doctor_of_the_full_recipe(kd_lab: Callable[..., Any], tmp_path: Path) -> None:
    write(tmp_path / "data" / "cifar-100-python", as_python(cifar100(per_class=1)))
    said = kd_lab(f"doctor experiment={PAIR} loss=dkd dataset.path={tmp_path / 'data'}")
    assert said.code == 0, said
    assert f"published for {PAIR}: dkd beta=2 (published=none leaves it out)" in said.out
    assert "teacher: resnet56, 861,620 parameters" in said.out
    assert "student: resnet20, 278,324 parameters" in said.out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]
