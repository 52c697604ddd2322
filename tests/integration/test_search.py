"""Searches as a user runs them: on the validation part alone, killed and gone on with, several objectives."""

import csv
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from kd_lab import names
from tests.integration.conftest import Said
from tests.integration.processes import all_runs, artifact, finish, of_role, roles, start, statuses, the_run, until

pytestmark = pytest.mark.slow
Command = Callable[..., Said]

SEARCH = ["-m", "sweep=optuna", "dataset=synthetic", "dataset.validation=200", "sweep.search.final_seeds=[1]"]


@pytest.fixture
def search(kd_lab: Command, small: list[str]) -> Command:
    """`search("sweep.search.trials=3")`: from this process; its workers are processes of their own."""
    return lambda *overrides: kd_lab("", *SEARCH, *small, *overrides)


def table(folder: Path) -> list[dict[str, str]]:
    """`trials.csv` of the last search."""
    with artifact(of_role(folder, "sweep")[-1], names.ARTIFACT_TRIALS).open(newline="") as file:
        return list(csv.DictReader(file))


def test_search__chosen_on_validation_and_then_measured(search: Command, kd_lab: Command, tmp_path: Path) -> None:
    said = search("sweep.search.trials=2")
    assert said.code == 0, said.err
    found = all_runs(tmp_path)
    assert roles(found) == {"sweep": 1, "teacher": 1, "trial": 2, "baseline": 1, "student": 1}
    parent = the_run(tmp_path, "sweep")
    assert {run.data.tags.get(names.TAG_PARENT) for run in found} == {None, parent.info.run_id}
    tried = of_role(tmp_path, names.TRIAL)
    for run in tried:
        assert not [key for key in run.data.metrics if key.startswith("test/")]
        assert {names.VAL_ACCURACY_TOP1, names.VAL_NLL_NATS, names.COST_PARAMS_TOTAL} < run.data.metrics.keys()
        assert run.data.params["loss_name"] == "kd"
        assert "temperature=" in run.info.run_name
    rows = table(tmp_path)
    accuracies = [run.data.metrics[names.VAL_ACCURACY_TOP1] for run in tried]
    assert [float(row[names.VAL_ACCURACY_TOP1]) for row in rows] == pytest.approx(accuracies)
    assert [row["run"] for row in rows] == [run.info.run_id for run in tried]
    best = accuracies.index(max(accuracies))
    assert [row["chosen"] for row in rows] == [str(number == best) for number in range(2)]
    student = the_run(tmp_path, "student")
    assert student.data.params["seed"] == "1"
    assert student.data.params["loss.terms.kd.temperature"] == rows[best]["loss.temperature"]
    assert student.data.params["loss.hard_weight"] == rows[best]["loss.hard_weight"]
    assert student.data.tags[names.TAG_CONFIGURATIONS_TRIED] == "2"
    assert names.TEST_ACCURACY_TOP1 in student.data.metrics
    temperature = rows[best]["loss.temperature"]
    sentence = f"Chosen on the validation part from 2 configurations (2 done): loss.temperature={temperature}"
    assert sentence in said.out
    assert sentence in parent.data.tags[names.TAG_NOTE]
    assert parent.info.status == "FINISHED"
    assert "chosen on validation from 2 configurations" in kd_lab("compare").out

    said = search("sweep.search.trials=3")
    assert said.code == 0, said.err
    assert said.out.startswith("2 of 3 trials are there already (sweep.resume=false runs all again)")
    assert "3 trials: 1 done, 2 found again in " in said.out
    assert roles(all_runs(tmp_path))["trial"] == 3
    assert of_role(tmp_path, "student")[-1].data.tags[names.TAG_CONFIGURATIONS_TRIED] == "3"
    assert [row["run"] for row in table(tmp_path)[:2]] == [row["run"] for row in rows]


def test_search__killed_goes_on_with_what_is_missing(search: Command, small: list[str], tmp_path: Path) -> None:
    more = ["baseline=false", "student.recipe.steps=6000", "sweep.search.trials=3"]
    first = start(tmp_path, *SEARCH, *small, *more)
    until(lambda: statuses(tmp_path, names.TRIAL) == ["FINISHED", "RUNNING"])
    first.signal(signal.SIGKILL)
    until(lambda: statuses(tmp_path, names.TRIAL) == ["FINISHED", "KILLED"])
    said = search(*more)
    assert said.code == 0, said.err
    assert said.out.startswith("1 of 3 trials are there already")
    assert "3 trials: 2 done, 1 found again in " in said.out
    tried = of_role(tmp_path, names.TRIAL)
    assert [run.info.status for run in tried] == ["FINISHED", "KILLED", "FINISHED", "FINISHED"]
    temperatures = [run.data.params["loss.terms.kd.temperature"] for run in tried]
    assert temperatures[1] == temperatures[2], "what was lost is tried again"
    assert statuses(tmp_path, "sweep") == ["FINISHED"]
    assert [row["state"] for row in table(tmp_path)] == ["finished"] * 3


def test_search__alone_and_interrupted(search: Command, small: list[str], tmp_path: Path) -> None:
    more = ["student.recipe.steps=400000", "sweep.search.trials=4"]
    other = start(tmp_path, *SEARCH, *small, *more)
    until(lambda: statuses(tmp_path, names.TRIAL) == ["RUNNING"])
    said = search(*more)
    assert said.code == 2
    assert said.err.startswith("kd-lab: sweep=optuna: this search is running already")
    other.signal(signal.SIGINT)
    code, out, err = finish(other)
    assert code == 130, err
    assert "4 trials: 1 killed, 3 waiting in " in out
    assert "The same command again does the rest." in out
    assert statuses(tmp_path, names.TRIAL) == ["KILLED"]
    assert statuses(tmp_path, "sweep") == ["KILLED"]


def test_search__the_front_of_accuracy_and_parameters_with_two_workers(search: Command, tmp_path: Path) -> None:
    objectives = "sweep.search.objectives=[val/accuracy_top1,cost/params_total]"
    more = ["student.widths=[2],[32]", "sweep.search.space=null", "sweep.search.trials=4", "sweep.jobs=2"]
    said = search(objectives, *more, "baseline=false")
    assert said.code == 0, said.err
    reached = {(row["student.widths"], float(row[names.COST_PARAMS_TOTAL])) for row in table(tmp_path)}
    assert reached == {("[2]", 72.0), ("[32]", 1002.0)}
    assert "the 2 that no other one is better than" in said.out
    assert {run.data.params["network"] for run in of_role(tmp_path, "student")} == {"mlp 2", "mlp 32"}
    assert "4 trials: 4 done in " in said.out


def test_search__hopeless_and_failing_trials(search: Command, tmp_path: Path) -> None:
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
    said = search(*own, "sweep.search.space=null", "sweep.search.trials=16", "student.recipe.steps=400")
    assert said.code == 1, said.err
    assert "does=raises: failed: KeyError: 'oh'" in said.out
    assert "does=hopeless: pruned at epoch " in said.out
    states = {(row["student.does"], row["state"]) for row in table(tmp_path)}
    assert {("raises", "failed"), ("hopeless", "pruned"), ("good", "finished")} <= states
    pruned = next(run for run in of_role(tmp_path, names.TRIAL) if "pruned" in run.data.tags.get(names.TAG_REASON, ""))
    assert pruned.info.status == "KILLED"
    assert "below the median" in pruned.data.tags[names.TAG_REASON]
    assert {run.data.params["student.does"] for run in of_role(tmp_path, "student")} <= {"good", "good2"}
    assert statuses(tmp_path, "sweep") == ["FAILED"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["dataset.validation=0"], "sweep.search: configurations are chosen on the validation part, but there is none"),
        (["loss=at"], "loss.temperature=1.0: loss=at has no such key"),
        (
            ["sweep.search.objectives=[val/accuracy_top1,cost/latency_ms_p50]", "sweep.jobs=2"],
            "sweep.jobs=2: a latency is measured with nothing beside it",
        ),
    ],
)
def test_search__refused_before_anything_is_written(
    kd_lab: Command, tmp_path: Path, more: list[str], message: str
) -> None:
    said = kd_lab("", *SEARCH, "teacher=mlp", *more)
    assert said.code == 2
    assert said.err.startswith(f"kd-lab: {message}")
    assert len(said.err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
