"""Populations as a user trains them: bit for bit the trainings that they are made of."""

import csv
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
import yaml

from kd_lab import names
from kd_lab.job.api import run_alone
from kd_lab.job.console import Reporter
from tests.integration.conftest import Said
from tests.integration.processes import (
    all_runs,
    artifact,
    of_role,
    roles,
    standing_in,
    start,
    statuses,
    the_run,
    until,
)

pytestmark = pytest.mark.slow
Command = Callable[..., Said]

OF_PBT = ["sweep.search.pbt.population=3", "sweep.search.pbt.rounds=3", "sweep.search.final_seeds=[1]"]
SEARCH = ["-m", "sweep=pbt", "dataset=synthetic", "dataset.validation=200", "trainer.threads=1", *OF_PBT]
LONG = "student.recipe.steps=150"


@pytest.fixture
def search(kd_lab: Command, small: list[str]) -> Command:
    return lambda *overrides: kd_lab("", *SEARCH, *small, LONG, *overrides)


def ended(folder: Path) -> int:
    """How many turns have."""
    journal = folder / "mlflow.db.populations"
    return len(journal.read_text().splitlines()) if journal.exists() else 0


def table(folder: Path) -> list[dict[str, str]]:
    """`members.csv` of the last search."""
    with artifact(of_role(folder, "sweep")[-1], names.ARTIFACT_MEMBERS).open(newline="") as file:
        return list(csv.DictReader(file))


def hashes(folder: Path, role: str) -> list[str]:
    return [run.data.tags[names.TAG_WEIGHTS_SHA256] for run in of_role(folder, role)]


def untimed(rows: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    return [{key: value for key, value in row.items() if key not in {"seconds", "run"}} for row in rows]


def test_population__what_it_learned_is_run_with_other_seeds(search: Command, kd_lab: Command, tmp_path: Path) -> None:
    said = search()
    assert said.code == 0, said.err
    assert roles(all_runs(tmp_path)) == {"sweep": 1, "teacher": 1, "trial": 3, "baseline": 1, "student": 1}
    members, parent, student = of_role(tmp_path, names.TRIAL), the_run(tmp_path, "sweep"), the_run(tmp_path, "student")
    assert not [key for run in members for key in run.data.metrics if key.startswith("test/")]
    rows = table(tmp_path)
    assert [(row["round"], row["member"]) for row in rows] == [(str(r), str(m)) for r in (1, 2, 3) for m in (1, 2, 3)]
    assert [row["run"] for row in rows[6:]] == [run.info.run_id for run in members]
    (best,) = [run for run, row in zip(members, rows[6:], strict=True) if row["of_best"] == "True"]
    assert best.data.metrics[names.VAL_ACCURACY_TOP1] == max(
        run.data.metrics[names.VAL_ACCURACY_TOP1] for run in members
    )
    replaced = sum(row["parent"] != row["member"] for row in rows)
    assert replaced == 2
    assert f"from {3 + replaced} configurations (a population of 3 over 3 rounds, 2 times one was replaced" in said.out
    assert f"its network is in run {best.info.run_id}" in parent.data.tags[names.TAG_NOTE]
    assert artifact(parent, names.ARTIFACT_MEMBERS_FIGURE).read_bytes().startswith(b"\x89PNG")
    assert student.data.tags[names.TAG_CONFIGURATIONS_TRIED] == "5"
    assert "chosen on validation from 5 configurations" in kd_lab("compare").out
    assert not (tmp_path / "mlflow.db.checkpoints").exists()

    # The members' own seed in the place of the final one: the best member's network, trained without a break.
    config = yaml.safe_load(artifact(student, names.ARTIFACT_CONFIG).read_text())
    learned = [row for row in rows if row["of_best"] == "True"]
    assert config["loss"]["temperature"] == float(learned[0]["loss.temperature"])
    run_alone(config | {"seed": 0, "baseline": False}, Reporter())
    assert (
        of_role(tmp_path, "student")[-1].data.tags[names.TAG_WEIGHTS_SHA256] == best.data.tags[names.TAG_WEIGHTS_SHA256]
    )

    said = search()
    assert said.code == 0, said.err
    assert said.out.startswith("9 of 9 turns are there already (sweep.resume=false runs all again)")
    assert roles(all_runs(tmp_path))["trial"] == 3


def test_population__of_equals_is_the_plain_training(
    search: Command, kd_lab: Command, small: list[str], tmp_path: Path
) -> None:
    fixed = ["loss.temperature=3.0", "loss.hard_weight=0.2", "baseline=false"]
    few = ["sweep.search.pbt.population=2", "sweep.search.pbt.rounds=2", "sweep.search.pbt.perturb=[1,1]"]
    said = search(*fixed, *few, "student.recipe.optimizer.lr=interval(0.01,0.01)")
    assert said.code == 0, said.err
    job = ["dataset=synthetic", "dataset.validation=200", "trainer.threads=1", *small, LONG, *fixed]
    said = kd_lab("", *job, "student.recipe.optimizer.lr=0.01", "seed=0")
    assert said.code == 0, said.err

    assert len({*hashes(tmp_path, names.TRIAL), hashes(tmp_path, "student")[-1]}) == 1
    said = kd_lab("", *job, "student.recipe.optimizer.lr=0.01", "seed=1", "student.reuse=true")
    assert "nothing is trained" in said.out, "what never changed is run again as the plain job that it is"


@pytest.mark.parametrize(("how", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_population__ended_in_the_middle_and_gone_on_with__is_the_whole(
    search: Command, small: list[str], tmp_path: Path, how: signal.Signals, code: int
) -> None:
    few = ["baseline=false", "sweep.search.pbt.population=2", "student.recipe.steps=3000"]
    first = start(tmp_path, *SEARCH, *small, LONG, *few)
    until(lambda: ended(tmp_path) >= 3)
    first.signal(how)
    assert first.wait(60) == code, first.said
    until(lambda: standing_in(tmp_path) == [])  # its worker notices
    there = ended(tmp_path)
    assert 3 <= there < 6
    if how == signal.SIGINT:
        assert "The same command again does the rest." in first.said
        assert statuses(tmp_path, "sweep") == ["KILLED"]
        states = [row["state"] for row in table(tmp_path)]
        assert states[:there] == ["finished"] * there
        assert len(states) <= there + 1, "one turn was interrupted"

    said = search(*few)

    assert said.code == 0, said.err
    assert said.out.startswith(f"{there} of 6 turns are there already")
    gone_on, resumed = table(tmp_path), hashes(tmp_path, names.TRIAL)
    assert len(resumed) == 2
    assert search(*few, "sweep.resume=false").code == 0
    assert untimed(table(tmp_path)) == untimed(gone_on)
    assert hashes(tmp_path, names.TRIAL)[2:] == resumed


def test_population__a_loss_that_is_not_finite__the_member_is_replaced(search: Command, tmp_path: Path) -> None:
    rate = ["sweep.search.space=null", "student.recipe.optimizer.lr=tag(log,interval(1e-3,1e3))"]
    said = search(*rate, "baseline=false", "student/recipe/optimizer=sgd", "sweep.search.seed=2")
    assert said.code == 0, said.err + said.out
    rows = table(tmp_path)
    ended = [row for row in rows if row["state"] == "pruned"]
    assert ended
    assert all("is replaced: " in row["reason"] for row in ended)
    first = next(row for row in ended if row["round"] == "1")
    assert rows[2 + int(first["member"])]["parent"] != first["member"]
    assert statuses(tmp_path, "sweep") == ["FINISHED"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["dataset.validation=0"], "sweep.search: configurations are chosen on the validation part, but there is none"),
        (
            ["sweep.search.pbt.population=1"],
            "sweep.search.pbt.population=1: expected a value greater than or equal to 2",
        ),
        (["student.widths=[16],[32]"], "student.widths: sweep=pbt multiplies values, so it cannot search choices"),
        (
            ["student.recipe.label_smoothing=interval(0.0,0.2)"],
            "student.recipe.label_smoothing: cannot change in the middle",
        ),
        (
            ["+sweep.search.trials=8"],
            "sweep.search: trials and pbt: expected settings of Optuna (sweep=optuna) or of a",
        ),
        (
            ["sweep.search.pbt.rounds=1000"],
            "sweep.search.pbt.rounds=1000: a round is of whole epochs, and the student's",
        ),
        (
            ["student.recipe.early_stopping=3"],
            "student.recipe.early_stopping: the members of a population are trained alike",
        ),
        (["sweep.search.final_seeds=[0]"], "sweep.search.final_seeds=[0]: the trials are tuned with seed=0"),
        (["loss=at", "teacher=cnn", "dataset=digits"], "loss.temperature=1.0: loss=at has no such key"),
        (["loss.schedules.temperature=cosine"], "loss.temperature: follows a schedule already"),
    ],
)
def test_population__refused_before_anything_is_written(
    kd_lab: Command, tmp_path: Path, more: list[str], message: str
) -> None:
    said = kd_lab("", *SEARCH, "teacher=mlp", *more)
    assert said.err.startswith(f"kd-lab: {message}")
    assert said.code == 2
    assert len(said.err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
