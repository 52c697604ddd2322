"""A population whose members are numbers and not networks: what is run, noted, gone on with and chosen."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from kd_lab.errors import TrainingFailedError, UserError
from kd_lab.job.search_settings import Dimension, SearchSettings
from kd_lab.sweep.jobs import Job
from kd_lab.sweep.journal import Journal
from kd_lab.sweep.members import Members, found_by
from kd_lab.sweep.rounds import Rounds, ends_of
from kd_lab.sweep.states import FAILED, FINISHED, FOUND, PRUNED, JobFolder, JobState
from kd_lab.sweep.workers import Jobs

KEY = "loss.temperature"
BASE = Job("", {"tracking": {"uri": "sqlite:///x.db"}, "study": "s"})
ENDS = [10, 20, 30]


class Killed(BaseException):
    """As sudden as a signal."""


def rounds(folder: Path, name: str = "p", **settings: Any) -> tuple[Rounds, JobFolder]:
    pbt = {"population": 4, "rounds": 3, **settings}
    jobs = JobFolder(folder / f"jobs-{len(list(folder.iterdir()))}")
    jobs.path.mkdir()

    def composed(values: Mapping[str, float], *more: str) -> dict[str, Any]:
        return {"loss": {KEY.rpartition(".")[2]: values[KEY]}, "more": more}

    made = Rounds(
        SearchSettings(pbt=pbt),  # type: ignore[arg-type]
        {KEY: Dimension(low=1.0, high=20.0, log=True)},
        jobs,
        name,
        journal=Journal(folder / "x.db.populations", name),
        states=folder / "states",
        ends=ENDS,
        base=BASE,
        composed=composed,
    )
    return made, jobs


def here(jobs: JobFolder, score: Callable[[JobState], Any], most: int = 1000) -> Callable[[Jobs], None]:
    """Runs turns: each leaves a state, goes on from that of its parent, and reaches what `score` says."""
    done = 0

    def run(turns: Jobs) -> None:
        nonlocal done
        while turns.left:
            number, _ = turns.next()
            task = jobs.read(number).turn
            assert task is not None
            assert task.before is None or Path(task.before, "state").exists()
            if done == most:
                raise Killed
            done += 1
            found = score(jobs.read(number))
            if isinstance(found, str):
                jobs.change(number, state=found, reason="its loss", started=0.0, ended=1.0)
            else:
                Path(task.folder).mkdir(parents=True)
                Path(task.folder, "state").touch()
                jobs.change(number, state=FINISHED, values=[found], started=0.0, ended=1.0)
            turns.ended(number)

    return run


def warmest(turn: JobState) -> float:
    return float(turn.params[KEY]) / 100


def facts(jobs: JobFolder) -> list[tuple[Any, ...]]:
    return [(turn.label, turn.turn, turn.params, turn.values, turn.chosen) for turn in jobs.all()]


def test_run__every_member_in_every_round_and_the_best_is_chosen(tmp_path: Path) -> None:
    found, jobs = rounds(tmp_path)
    best = found.run(here(jobs, warmest))

    assert best is not None
    turns = jobs.all()
    assert len(turns) == 12
    last = [turn.params[KEY] for turn in turns[8:]]
    assert last[best] == max(last)
    assert [turn.number - 8 for turn in turns if turn.chosen] == [best]
    assert [(turn.turn.until, turn.turn.is_last) for turn in turns[::4] if turn.turn] == [
        (10, False),
        (20, False),
        (30, True),
    ]
    assert not (tmp_path / "states").exists(), "nobody goes on from a state any more"
    replaced = sum(turn.turn.parent != turn.turn.member for turn in turns if turn.turn)
    assert replaced == 2, "one of four after each of the first two rounds"
    assert found_by(turns)[1] == 4 + 2


def test_learned__the_schedule_of_the_best_as_a_job(tmp_path: Path) -> None:
    found, jobs = rounds(tmp_path)
    best = found.run(here(jobs, warmest))
    assert best is not None
    values = [turn.params[KEY] for turn in Members.of(jobs.all()).best]
    job = found.learned(best, "seed=1")

    assert job["more"] == ("seed=1",)
    assert job["loss"]["temperature"] == values[0]
    schedule = job["loss"].get("schedules", {}).get("temperature", {"milestones": [], "factors": []})
    learned = [values[0], *(values[0] * factor for factor in schedule["factors"])]
    assert learned == pytest.approx([v for i, v in enumerate(values) if not i or v != values[i - 1]], rel=1e-5)
    assert set(schedule["milestones"]) <= {10 / 30, 20 / 30}


@pytest.mark.parametrize("most", [0, 3, 4, 6, 11])
def test_run__interrupted_and_gone_on_with__is_the_whole(tmp_path: Path, most: int) -> None:
    whole, jobs = rounds(tmp_path, "whole")
    whole.run(here(jobs, warmest))
    uninterrupted = [
        (label, task and (task.round, task.member, task.parent), *more) for label, task, *more in facts(jobs)
    ]

    first, jobs = rounds(tmp_path)
    with pytest.raises(Killed):
        first.run(here(jobs, warmest, most))
    with (tmp_path / "x.db.populations").open("a") as file:
        file.write('{"population": "p", "rou')  # as a kill leaves it
    again, jobs = rounds(tmp_path)
    ran = len([turn for turn in jobs.all() if turn.state == FOUND])
    again.run(here(jobs, warmest))

    assert ran == most
    resumed = [(label, task and (task.round, task.member, task.parent), *more) for label, task, *more in facts(jobs)]
    assert resumed == uninterrupted


def test_run__done_before__nothing_is_run(tmp_path: Path) -> None:
    first, jobs = rounds(tmp_path)
    best = first.run(here(jobs, warmest))
    again, jobs = rounds(tmp_path)

    assert again.run(here(jobs, warmest, 0)) == best
    assert {turn.state for turn in jobs.all()} == {FOUND}
    assert again.learned(0) == first.learned(0)


def test_run__a_loss_that_is_not_finite__the_member_is_replaced(tmp_path: Path) -> None:
    found, jobs = rounds(tmp_path)
    best = found.run(here(jobs, lambda turn: PRUNED if turn.number in {2, 9} else warmest(turn)))

    turns = jobs.all()
    assert turns[6].turn is not None
    assert turns[6].turn.parent != 2
    assert best not in {None, 1}, "a member whose loss is not finite in the last round is not chosen"
    again, jobs = rounds(tmp_path)
    assert again.run(here(jobs, warmest, 0)) == best


def test_run__no_member_is_left__said(tmp_path: Path) -> None:
    found, jobs = rounds(tmp_path)
    with pytest.raises(
        TrainingFailedError, match=r"of all 4 members the loss stopped being finite in round 1; .*its loss"
    ):
        found.run(here(jobs, lambda _: PRUNED))


def test_run__a_turn_that_fails__ends_it_and_is_done_again(tmp_path: Path) -> None:
    found, jobs = rounds(tmp_path)
    assert found.run(here(jobs, lambda turn: FAILED if turn.number == 5 else warmest(turn))) is None
    assert [turn.number for turn in jobs.all()] == list(range(8)), "what was not begun is forgotten"
    assert "nothing is chosen" in found_by(jobs.all())[0]

    _, jobs = rounds(tmp_path)
    assert [turn.number for turn in jobs.all() if turn.state != FOUND] == [5, 8, 9, 10, 11]


@pytest.mark.parametrize(
    ("steps", "per_epoch", "rounds_", "ends"),
    [
        (100, 10, 4, [20, 50, 80, 100]),
        (95, 10, 10, [*range(10, 91, 10), 95]),
        (2033, 19, 2, [1026, 2033]),
        (7, 7, 1, [7]),
    ],
)
def test_ends__of_whole_epochs_and_the_last_is_the_end(
    steps: int, per_epoch: int, rounds_: int, ends: Sequence[int]
) -> None:
    assert ends_of(steps, per_epoch, rounds_) == ends


@pytest.mark.parametrize("damage", [b"\xff\xfe", b'{"population": "p"}\n[]\n7\n{"population": "p", "round": 0}\n'])
def test_journal__noise(tmp_path: Path, damage: bytes) -> None:
    journal = Journal(tmp_path / "j", "p")
    assert journal.read() == {}
    journal.add(
        1,
        2,
        dict.fromkeys(("run_id", "reason", "started", "ended", "result", "score", "on_validation"))
        | {"state": FINISHED, "values": [0.5]},
    )
    assert journal.read()[1, 2]["values"] == [0.5]
    with (tmp_path / "j").open("ab") as file:
        file.write(damage)
    if damage.startswith(b"{"):
        assert journal.read().keys() == {(1, 2)}
    else:
        with pytest.raises(UserError, match="cannot be read as the journal of populations; move it away"):
            journal.read()
