"""Optuna's side of a search: the same values for the same seed, going on after an end, pruning, the front."""

import sys
from pathlib import Path
from typing import Any

import optuna
import pytest

from kd_lab.errors import PrunedError, UserError
from kd_lab.job.search_settings import Dimension, SearchSettings
from kd_lab.sweep.states import FAILED, FINISHED, PRUNED
from kd_lab.sweep.trials import STARTUP_TRIALS, Pruning, Trials, check_installed, rounded

SPACE = {"x": Dimension(low=0.0, high=1.0), "size": Dimension(choices=[[16], [32]])}


def trials(folder: Path, name: str = "search", **settings: Any) -> Trials:
    check_installed()
    return Trials(folder / "journal", name, SearchSettings(**settings), SPACE)


def value(values: dict[str, Any]) -> float:
    return 1 - abs(values["x"] - 0.7) + 0.1 * (values["size"] == [32])


def search(found: Trials, number: int) -> list[dict[str, Any]]:
    drawn = []
    for _ in range(number):
        one = found.draw()
        drawn.append(one.values)
        found.tell(one.number, FINISHED, [value(one.values)], {"label": str(one.values)})
    return drawn


def test_draw__the_same_seed_draws_the_same(tmp_path: Path) -> None:
    first = search(trials(tmp_path, "a"), 25)
    assert first == search(trials(tmp_path, "b"), 25)
    assert first != search(trials(tmp_path, "c", seed=1), 25)
    assert all(one["size"] in ([16], [32]) for one in first)
    assert all(len(f"{one['x']:g}".lstrip("0.")) <= 4 for one in first)


def test_draw__at_random__learns_nothing_from_what_was_told(tmp_path: Path) -> None:
    told = search(trials(tmp_path, "told", sampler="random"), 25)
    blind = trials(tmp_path, "blind", sampler="random")
    drawn = []
    for _ in range(25):
        one = blind.draw()
        drawn.append(one.values)
        blind.tell(one.number, FINISHED, [0.0], {})
    assert drawn == told
    assert search(trials(tmp_path, "tpe"), 25) != told


def test_before__goes_on_as_if_it_had_not_been_interrupted(tmp_path: Path) -> None:
    whole = search(trials(tmp_path, "whole"), 15)
    found = trials(tmp_path, "cut")
    search(found, 12)
    lost = found.draw().values  # the process ends here
    again = trials(tmp_path, "cut")
    before = again.before()
    assert [one.values for one in before] == whole[:12]
    assert {one.state for one in before} == {FINISHED}
    assert before[3].job == {"label": str(whole[3])}
    rest = search(again, 3)
    assert rest[0] == lost
    assert rest == whole[12:]
    assert len(trials(tmp_path, "cut").before()) == 15


def test_before__what_was_lost_with_its_process_is_tried_again_once(tmp_path: Path) -> None:
    whole = search(trials(tmp_path, "whole"), 4)
    found = trials(tmp_path)
    search(found, 2)
    lost = found.draw()
    found.tell(lost.number, FAILED, None, {"label": "x"}, lost=True)
    for _ in range(2):  # a command that drew nothing changes nothing
        again = trials(tmp_path)
        assert [one.values for one in again.before()] == whole[:2]
    rest = search(again, 2)
    assert rest == [lost.values, whole[3]]
    assert len(trials(tmp_path).before()) == 4


def test_before__failed_and_pruned_ones_count(tmp_path: Path) -> None:
    found = trials(tmp_path)
    for state in (FAILED, PRUNED, FINISHED):
        found.tell(found.draw().number, state, [0.5], {"reason": state})
    told = [(one.state, one.job["reason"]) for one in trials(tmp_path).before()]
    assert told == [(state, state) for state in (FAILED, PRUNED, FINISHED)]


def test_best__one_objective(tmp_path: Path) -> None:
    found = trials(tmp_path, objectives=["val/nll_nats"])
    assert found.best() == []
    for nll in (0.5, 0.2, 0.2, 0.9):
        found.tell(found.draw().number, FINISHED, [nll], {})
    found.tell(found.draw().number, FAILED, None, {})
    assert found.best() == [1]


def test_best__the_front_of_two_objectives(tmp_path: Path) -> None:
    found = trials(tmp_path, objectives=["val/accuracy_top1", "cost/params_total"])
    for values in ((0.9, 100), (0.8, 50), (0.7, 60), (0.95, 200), (0.9, 150)):
        found.tell(found.draw().number, FINISHED, values, {})
    assert found.best() == [3, 0, 1]


def epochs(found: Trials, accuracies: list[float]) -> str:
    """Why a trial with these accuracies was pruned; it is told to Optuna as the sweep does."""
    drawn = found.draw()
    report = Pruning(found.task(drawn.trial_id))
    try:
        for epoch, accuracy in enumerate(accuracies, start=1):
            report(epoch, len(accuracies), {"val/accuracy_top1": accuracy, "val/nll_nats": 1.0})
    except PrunedError as error:
        found.tell(drawn.number, PRUNED, None, {})
        return str(error)
    found.tell(drawn.number, FINISHED, accuracies[-1:], {})
    return ""


def test_report__prunes_what_is_below_the_median(tmp_path: Path) -> None:
    found = trials(tmp_path)
    for number in range(STARTUP_TRIALS):
        assert epochs(found, [0.1, 0.5 + 0.01 * number, 0.6, 0.7]) == ""
    assert epochs(found, [0.05, 0.6, 0.65, 0.9]) == "", "the first epoch is spared"
    assert epochs(found, [0.3, 0.4, 0.4, 0.9]) == (
        "pruned at epoch 2 of 4: validation accuracy 40.00% at best, below the median 52.50% of 6 trials at this epoch"
    )
    assert epochs(found, [0.3, 0.9, 0.9, 0.1]) == "", "the last epoch is never the one that is pruned at"
    study = optuna.load_study(study_name="search", storage=found._storage)
    assert [trial.state.name for trial in study.trials][-3:] == ["COMPLETE", "PRUNED", "COMPLETE"]


def test_report__no_pruning_with_two_objectives_or_unless_wanted() -> None:
    assert SearchSettings().prunes
    assert not SearchSettings(prune=False).prunes
    assert not SearchSettings(objectives=["val/accuracy_top1", "cost/macs"]).prunes


@pytest.mark.parametrize(
    ("dimension", "drawn", "expected"),
    [
        (Dimension(low=1.0, high=20.0, log=True), 4.271938, 4.272),
        (Dimension(low=1.0, high=1.2349), 1.23489, 1.2349),
        (Dimension(low=1, high=200000), 123456, 123456),
        (Dimension(choices=[[16], [32]]), "[32]", [32]),
        (Dimension(choices=[None, 0.5]), None, None),
    ],
)
def test_rounded__what_is_told_is_what_is_run(dimension: Dimension, drawn: Any, expected: Any) -> None:
    assert rounded(dimension, drawn) == expected


def test_check_installed__says_how(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UserError, match="sweep=optuna: needs optuna; install it with: pip install optuna"):
        check_installed()


@pytest.mark.parametrize(
    "content", [b"\xff\xfe noise \x00\n", b"text\ntext\n", b'{"a": 1}\n{"a": 1}\n', b"[]\n[]\n", b"5\n5\n"]
)
def test_trials__a_journal_that_is_none__one_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "journal").write_bytes(content)
    with pytest.raises(UserError, match=r"journal: Optuna cannot read its journal of searches; move that file away"):
        trials(tmp_path)
