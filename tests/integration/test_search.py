"""Searches as a user runs them: on the validation part alone, killed and gone on with, several objectives."""

import csv
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow.entities import Run

from kd_lab import names
from tests.integration.processes import SMALL, all_runs, client, end_all, finish, kd_lab, of_role, roles, start

pytestmark = pytest.mark.slow

SEARCH = ["-m", "sweep=optuna", *SMALL, "dataset.validation=200", "sweep.search.final_seeds=[1,2]"]


@pytest.fixture(autouse=True)
def nothing_goes_on() -> Iterator[None]:
    yield
    end_all()


def until_trials(folder: Path, expected: list[str]) -> None:
    deadline = time.monotonic() + 300
    while not (folder / "mlartifacts").exists() or [r.info.status for r in of_role(folder, names.TRIAL)] != expected:
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.3)


def table(folder: Path, parent: Run) -> list[dict[str, str]]:
    with open(client(folder).download_artifacts(parent.info.run_id, names.ARTIFACT_TRIALS), newline="") as file:
        return list(csv.DictReader(file))


VALUES = ["loss.temperature", "loss.hard_weight", "student.recipe.optimizer.lr"]


def test_search__chosen_on_validation_and_then_measured(tmp_path: Path) -> None:
    (first := tmp_path / "first").mkdir()
    code, out, err = kd_lab(first, *SEARCH, "sweep.search.trials=3")
    assert code == 0, err
    found = all_runs(first)
    assert roles(found) == {"sweep": 1, "teacher": 1, "trial": 3, "baseline": 2, "student": 2}
    (parent,) = of_role(first, "sweep")
    assert {
        run.data.tags[names.TAG_PARENT] for run in found if run is not parent and run.data.tags["role"] != "sweep"
    } == {parent.info.run_id}
    tried = of_role(first, names.TRIAL)
    for run in tried:
        assert not [key for key in run.data.metrics if key.startswith("test/")]
        assert {names.VAL_ACCURACY_TOP1, names.VAL_NLL_NATS, names.COST_PARAMS_TOTAL} < run.data.metrics.keys()
        assert run.data.params["loss_name"] == "kd"
        assert "temperature=" in run.info.run_name
    rows = table(first, parent)
    accuracies = [run.data.metrics[names.VAL_ACCURACY_TOP1] for run in tried]
    assert [float(row[names.VAL_ACCURACY_TOP1]) for row in rows] == pytest.approx(accuracies)
    assert [row["run"] for row in rows] == [run.info.run_id for run in tried]
    best = max(range(3), key=lambda number: accuracies[number])
    assert [row["chosen"] for row in rows] == [str(number == best) for number in range(3)]
    students = of_role(first, "student")
    assert [run.data.params["seed"] for run in students] == ["1", "2"]
    for run in students:
        assert run.data.params["loss.terms.kd.temperature"] == rows[best]["loss.temperature"]
        assert run.data.params["loss.hard_weight"] == rows[best]["loss.hard_weight"]
        assert run.data.tags[names.TAG_CONFIGURATIONS_TRIED] == "3"
        assert names.TEST_ACCURACY_TOP1 in run.data.metrics
    sentence = f"Chosen on the validation part from 3 configurations (3 done): loss.temperature={rows[best][VALUES[0]]}"
    assert sentence in out
    assert sentence in parent.data.tags[names.TAG_NOTE]
    assert "kd: chosen on validation from 3 configurations." in out
    assert parent.info.status == "FINISHED"
    assert "chosen on validation from 3 configurations" in kd_lab(first, "compare")[1]

    code, out, err = kd_lab(first, *SEARCH, "sweep.search.trials=5")
    assert code == 0, err
    assert out.startswith("3 of 5 trials are there already (sweep.resume=false runs all again)")
    assert "5 trials: 2 done, 3 found again in " in out
    assert roles(all_runs(first))["trial"] == 5
    assert {run.data.tags[names.TAG_CONFIGURATIONS_TRIED] for run in of_role(first, "student")[-2:]} == {"5"}

    (second := tmp_path / "second").mkdir()
    assert kd_lab(second, *SEARCH, "sweep.search.trials=5")[0] == 0
    both = [[[row[key] for key in VALUES] for row in table(one, of_role(one, "sweep")[0])] for one in (first, second)]
    assert both[0] == both[1], "the same seed tries the same, in one command or in two"


def test_search__killed_goes_on_with_what_is_missing(tmp_path: Path) -> None:
    command = [*SEARCH, "baseline=false", "student.recipe.steps=4000", "sweep.search.trials=3"]
    first = start(tmp_path, *command)
    until_trials(tmp_path, ["FINISHED", "RUNNING"])
    first.kill()
    until_trials(tmp_path, ["FINISHED", "KILLED"])
    code, out, err = kd_lab(tmp_path, *command)
    assert code == 0, err
    assert out.startswith("1 of 3 trials are there already")
    assert "3 trials: 2 done, 1 found again in " in out
    tried = of_role(tmp_path, names.TRIAL)
    assert [run.info.status for run in tried] == ["FINISHED", "KILLED", "FINISHED", "FINISHED"]
    temperatures = [run.data.params["loss.terms.kd.temperature"] for run in tried]
    assert temperatures[1] == temperatures[2], "what was lost is tried again"
    (parent,) = of_role(tmp_path, "sweep")
    assert parent.info.status == "FINISHED"
    assert [row["state"] for row in table(tmp_path, parent)] == ["finished"] * 3


def test_search__alone_and_interrupted(tmp_path: Path) -> None:
    command = [*SEARCH, "student.recipe.steps=400000", "sweep.search.trials=4", "sweep.jobs=2"]
    search = start(tmp_path, *command)
    until_trials(tmp_path, ["RUNNING"] * 2)
    code, _, err = kd_lab(tmp_path, *command)
    assert code == 2
    assert err.startswith("kd-lab: sweep=optuna: this search is running already")
    search.send_signal(signal.SIGINT)
    code, out, err = finish(search)
    assert code == 130, err
    assert "4 trials: 2 killed, 2 waiting in " in out
    assert "The same command again does the rest." in out
    assert [run.info.status for run in of_role(tmp_path, names.TRIAL)] == ["KILLED"] * 2
    assert [run.info.status for run in of_role(tmp_path, "sweep")] == ["KILLED"]


def test_search__the_front_of_accuracy_and_parameters_with_two_workers(tmp_path: Path) -> None:
    objectives = "sweep.search.objectives=[val/accuracy_top1,cost/params_total]"
    more = ["student.widths=[2],[32]", "sweep.search.space=null", "sweep.search.trials=6", "sweep.jobs=2"]
    code, out, err = kd_lab(tmp_path, *SEARCH, objectives, *more, "sweep.search.final_seeds=[1]", "baseline=false")
    assert code == 0, err
    (parent,) = of_role(tmp_path, "sweep")
    rows = table(tmp_path, parent)
    reached = {(row["student.widths"], float(row[names.COST_PARAMS_TOTAL])) for row in rows}
    assert reached == {("[2]", 72.0), ("[32]", 1002.0)}
    assert "the 2 that no other one is better than" in out
    assert {run.data.params["network"] for run in of_role(tmp_path, "student")} == {"mlp 2", "mlp 32"}
    assert "6 trials: 6 done in " in out


def test_search__hopeless_and_failing_trials(tmp_path: Path) -> None:
    (tmp_path / "own_net.py").write_text(
        "import torch\nfrom torch import nn\n\n\nclass Net(nn.Sequential):\n"
        "    def __init__(self, num_classes: int, does: str) -> None:\n"
        "        super().__init__(nn.Linear(20, num_classes))\n"
        "        self.does = does\n\n"
        "    def forward(self, x):\n"
        "        if self.training and self.does == 'raises':\n            raise KeyError('oh')\n"
        "        logits = super().forward(x)\n"
        "        return -logits.detach() + 0 * logits if self.does == 'hopeless' and not self.training else logits\n"
    )
    own = ["student._target_=own_net.Net", "+student.does=good,good2,hopeless,raises", "baseline=false"]
    more = ["sweep.search.space=null", "sweep.search.trials=16", "student.recipe.steps=400"]
    code, out, err = kd_lab(tmp_path, *SEARCH, *own, *more)
    assert code == 1, err
    assert "does=raises: failed: KeyError: 'oh'" in out
    assert "does=hopeless: pruned at epoch " in out
    rows = table(tmp_path, of_role(tmp_path, "sweep")[0])
    states = {(row["student.does"], row["state"]) for row in rows}
    assert {("raises", "failed"), ("hopeless", "pruned"), ("good", "finished")} <= states
    pruned = next(run for run in of_role(tmp_path, names.TRIAL) if "pruned" in run.data.tags.get(names.TAG_REASON, ""))
    assert pruned.info.status == "KILLED"
    assert "below the median" in pruned.data.tags[names.TAG_REASON]
    assert {run.data.params["student.does"] for run in of_role(tmp_path, "student")} <= {"good", "good2"}
    assert of_role(tmp_path, "sweep")[0].info.status == "FAILED"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["dataset.validation=0"], "sweep.search: configurations are chosen on the validation part, but there is none"),
        (["loss=at"], "loss.temperature=1.0: loss=at has no such key"),
        (["loss.temperature=interval(-1,3)"], "loss.terms.kd.temperature=-1.0: expected > 0"),
        (
            ["sweep.search.objectives=[val/accuracy_top1,cost/latency_ms_p50]", "sweep.jobs=2"],
            "sweep.jobs=2: a latency is measured with nothing beside it",
        ),
    ],
)
def test_search__refused_before_anything_is_written(tmp_path: Path, more: list[str], message: str) -> None:
    code, _, err = kd_lab(tmp_path, *SEARCH, *more)
    assert code == 2
    assert err.startswith(f"kd-lab: {message}")
    assert len(err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
