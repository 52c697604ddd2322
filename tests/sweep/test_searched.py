"""What is told of a search."""

import csv
import io
from typing import Any

from kd_lab.sweep.searched import Searched
from kd_lab.sweep.states import FAILED, FINISHED, FOUND, KILLED, PRUNED, JobState, TrialTask


def trial(number: int, state: str, **facts: Any) -> JobState:
    task = TrialTask("journal", "search", number, ["val/accuracy_top1"], prunes=True)
    facts = {"params": {"loss.temperature": number + 1}, **facts}
    return JobState(number, f"loss.temperature={number + 1}", "", "", "", state=state, trial=task, **facts)


TRIALS = [
    trial(0, FINISHED, values=[0.9], run_id="abc", started=1.0, ended=3.5, result="validation accuracy 90.00%"),
    trial(1, PRUNED, reason="pruned at epoch 2", open_run="def"),
    trial(2, FAILED, reason="the loss became nan"),
    trial(3, FOUND, values=[0.95], result="validation accuracy 95.00%", chosen=True),
    trial(4, KILLED),
]


def test_sentence__what_was_chosen_from_how_many() -> None:
    job = JobState(5, "seed=0", "", "", "")
    assert Searched.of([*TRIALS, job]).sentence() == (
        "Chosen on the validation part from 4 configurations (2 done, 1 pruned, 1 failed): loss.temperature=4, "
        "validation accuracy 95.00%."
    )
    assert Searched.of(TRIALS[:3]).sentence() == (
        "Tried on the validation part: 3 configurations (1 done, 1 pruned, 1 failed); nothing is chosen."
    )
    both = [trial(n, FINISHED, result=f"validation accuracy {n}", chosen=True) for n in range(2)]
    assert Searched.of(both).sentence().splitlines() == [
        "Chosen on the validation part from 2 configurations (2 done): the 2 that no other one is better than.",
        "- loss.temperature=1: validation accuracy 0",
        "- loss.temperature=2: validation accuracy 1",
    ]


def test_csv__a_row_for_each_trial() -> None:
    rows = list(csv.DictReader(io.StringIO(Searched.of(TRIALS).csv())))
    assert [row["state"] for row in rows] == ["finished", "pruned", "failed", "finished", "killed"]
    assert rows[0] == {
        "trial": "0",
        "state": "finished",
        "chosen": "False",
        "loss.temperature": "1",
        "val/accuracy_top1": "0.9",
        "seconds": "2.5",
        "run": "abc",
        "reason": "",
    }
    assert (rows[1]["run"], rows[1]["reason"], rows[1]["val/accuracy_top1"]) == ("def", "pruned at epoch 2", "")


def test_csv__names_and_reasons_of_others__no_formula_and_no_control() -> None:
    tried = trial(0, FAILED, params={"@ref": "=1+1"}, reason="-x\x1b[2J")
    (row,) = csv.DictReader(io.StringIO(Searched.of([tried]).csv()))
    assert (row["'@ref"], row["reason"]) == ("'=1+1", "'-x\\x1b[2J")
