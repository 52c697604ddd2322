"""What is told of a population."""

import csv
import io
from typing import Any

import pytest

from kd_lab.sweep.members import Members, found_by
from kd_lab.sweep.states import FINISHED, FOUND, PRUNED, WAITING, JobState, TurnTask

KEY, SCORE = "loss.temperature", "val/accuracy_top1"


def turn(number: int, member: int, parent: int, value: float, state: str = FINISHED, **facts: Any) -> JobState:
    task = TurnTask(number, member, parent, 10 * (number + 1), "there", None, SCORE, is_last=number == 2)
    facts = {"values": [value / 10], "result": f"validation accuracy {value:g}0.00%"} | facts
    return JobState(
        2 * number + member, f"round={number + 1}", "", "", "", state=state, turn=task, params={KEY: value}, **facts
    )


TURNS = [
    turn(0, 0, 0, 4.0, FOUND, started=1.0, ended=3.5),
    turn(0, 1, 1, 2.0, PRUNED, values=None, reason="is replaced: nan"),
    turn(1, 0, 0, 4.0),
    turn(1, 1, 0, 4.8),
    turn(2, 0, 1, 5.76, run_id="abc"),
    turn(2, 1, 1, 4.8, chosen=True, run_id="def"),
]
JOB = JobState(6, "seed=1", "", "", "", tried=4)


def test_sentence__what_was_chosen_from_how_many_at_which_cost() -> None:
    told, configurations = found_by([*TURNS, JOB])
    assert configurations == 4, "two that were drawn, and two that came of being replaced"
    assert told == (
        "Chosen on the validation part from 4 configurations (a population of 2 over 3 rounds, 2 times one was "
        "replaced; the cost of 2 trainings): member 2, validation accuracy 4.80.00%, its network is in run def. What "
        "it was trained with, and is run again with: loss.temperature=4 -> 4.8."
    )
    waiting = turn(1, 0, 0, 4.0, WAITING, values=None)
    assert found_by([*TURNS[:2], waiting])[0] == (
        "Tried on the validation part: 2 configurations (a population of 2 over 1 rounds, 0 times one was replaced; "
        "the cost of 2 trainings); nothing is chosen."
    )
    assert found_by([JOB]) == ("", 0)


def test_csv__a_row_for_each_turn_and_whose_network_it_went_on_with() -> None:
    rows = list(csv.DictReader(io.StringIO(Members.of([*TURNS, JOB]).csv())))
    assert [(row["member"], row["parent"]) for row in rows] == [
        ("1", "1"),
        ("2", "2"),
        ("1", "1"),
        ("2", "1"),
        ("1", "2"),
        ("2", "2"),
    ]
    assert [row["of_best"] for row in rows] == ["True", "False", "False", "True", "False", "True"]
    assert rows[0] == {
        "round": "1",
        "member": "1",
        "parent": "1",
        "until_step": "10",
        "state": "finished",
        "of_best": "True",
        KEY: "4.0",
        SCORE: "0.4",
        "seconds": "2.5",
        "run": "",
        "reason": "",
    }
    assert (rows[1]["state"], rows[1][SCORE], rows[1]["reason"]) == ("pruned", "", "is replaced: nan")


def test_figure__the_network_of_the_best_is_thick_and_follows_its_lineage() -> None:
    figure = Members.of(TURNS).figure()
    values, reached = figure.axes
    assert (values.get_ylabel(), reached.get_ylabel()) == (KEY, SCORE)
    lines = {str(line.get_label()): line for line in values.lines}
    assert lines.keys() == {"member 1", "member 2", "the network of the best member"}
    best = lines.pop("the network of the best member")
    assert list(zip(best.get_xdata(), best.get_ydata(), strict=True)) == [(0, 4.0), (10, 4.0), (20, 4.8), (30, 4.8)]  # type: ignore[arg-type]
    assert best.get_linewidth() > max(line.get_linewidth() for line in lines.values())
    thick = next(line for line in reached.lines if line.get_label() == best.get_label())
    assert list(thick.get_ydata()) == pytest.approx([0.4, 0.48, 0.48])  # type: ignore[arg-type]
