"""Optuna's side of a search: what is tried next, what was tried before, and whether a trial is hopeless.

The process that the user started asks and tells; the process that runs a trial reports its epochs and asks whether to
stop. Both use one journal, Optuna's file for many processes: it outlives them, so that a search goes on where it ended.
"""

import logging
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from kd_lab.errors import PrunedError, UserError
from kd_lab.job.search_settings import Dimension, SearchSettings
from kd_lab.names import HIGHER_IS_BETTER
from kd_lab.sweep.states import FAILED, FINISHED, PRUNED, TrialTask

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.storages import JournalStorage
    from optuna.trial import FrozenTrial

DIGITS = 4
"""Values are drawn with so many significant digits: what is told is what was run."""
STARTUP_TRIALS = 5
WARM_UP = 10
"""No trial is pruned before this many are done, nor in the first epoch or the first tenth of them."""

JOB = "job"
INTERRUPTED = "interrupted"
ENQUEUED = "fixed_params"
"""Where Optuna 5.0 keeps the values of a trial that is still to be drawn."""


def check_installed() -> None:
    """Raise a UserError where there is no Optuna."""
    try:
        import optuna
    except ImportError as error:
        raise UserError("sweep=optuna: needs optuna; install it with: pip install optuna") from error
    optuna.logging.set_verbosity(logging.WARNING)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


@dataclass(frozen=True)
class Drawn:
    """A configuration that is to be tried: Optuna's number and id of the trial, and the values by key."""

    number: int
    trial_id: int
    values: dict[str, Any]


@dataclass(frozen=True)
class Tried:
    """One that was tried before. state: finished, pruned or failed. job: what its job noted."""

    number: int
    state: str
    values: dict[str, Any]
    job: dict[str, Any]


class Trials:
    """One search in its journal; a UserError where that cannot be read."""

    def __init__(self, journal: Path, name: str, settings: SearchSettings, dimensions: Mapping[str, Dimension]) -> None:
        import optuna

        self._settings = settings
        self._dimensions = dimensions
        self._distributions = {key: distribution(dimension) for key, dimension in dimensions.items()}
        self._journal = str(journal)
        directions = [direction(objective) for objective in settings.objectives]
        try:
            self._storage = _storage(self._journal)
            self._study = optuna.create_study(
                storage=self._storage, study_name=name, directions=directions, load_if_exists=True
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:  # of lines that Optuna did not write
            raise UserError(
                f"{journal}: Optuna cannot read its journal of searches; move that file away to begin them anew"
            ) from error
        self._id = self._storage.get_study_id_from_name(name)

    def before(self) -> list[Tried]:
        """Those that ended in an earlier command; what it had begun, or lost, is to be tried again."""
        from optuna.trial import TrialState

        for trial in self._study.get_trials(states=(TrialState.RUNNING,)):
            self._lose(trial.number)
            self._study.tell(trial.number, state=TrialState.FAIL)
        trials = self._study.get_trials(deepcopy=False)
        for lost in [trial for trial in trials if INTERRUPTED in trial.user_attrs and trial.params]:
            later = [trial for trial in trials if trial.number > lost.number]
            if lost.params not in [trial.params or trial.system_attrs.get(ENQUEUED) for trial in later]:
                self._study.enqueue_trial(lost.params)
        return [self._tried(trial) for trial in self._ended()]

    def _lose(self, number: int) -> None:
        trial_id = self._storage.get_trial_id_from_study_id_trial_number(self._id, number)
        self._storage.set_trial_user_attr(trial_id, INTERRUPTED, True)

    def draw(self) -> Drawn:
        """The next configuration.

        The sampler is seeded by how many there were: a search that was interrupted goes on as if it had not been.
        """
        import numpy as np
        from optuna.samplers import RandomSampler, TPESampler

        trials = [t for t in self._study.get_trials(deepcopy=False) if t.state.name != "WAITING"]
        index = sum(INTERRUPTED not in trial.user_attrs for trial in trials)
        seed = np.random.SeedSequence([self._settings.seed, index]).generate_state(1)[0]
        sampler = {"tpe": TPESampler, "random": RandomSampler}[self._settings.sampler]
        self._study.sampler = sampler(seed=int(seed))
        trial = self._study.ask(self._distributions)
        trial_id = self._storage.get_trial_id_from_study_id_trial_number(self._id, trial.number)
        return Drawn(trial.number, trial_id, self._values(trial.params))

    def tell(
        self,
        number: int,
        state: str,
        values: Sequence[float] | None,
        job: Mapping[str, Any],
        *,
        lost: bool = False,
    ) -> None:
        """How a trial ended. lost: its process was killed, which says nothing of the configuration."""
        from optuna.trial import TrialState

        if lost:
            self._lose(number)
        trial_id = self._storage.get_trial_id_from_study_id_trial_number(self._id, number)
        self._storage.set_trial_user_attr(trial_id, JOB, dict(job))
        states = {FINISHED: TrialState.COMPLETE, PRUNED: TrialState.PRUNED, FAILED: TrialState.FAIL}
        self._study.tell(number, values if state == FINISHED else None, state=states[state])

    def best(self) -> list[int]:
        """The trials that no other one is better than, each configuration once."""
        done = [trial for trial in self._ended() if trial.state.name == "COMPLETE"]
        if not done:
            return []
        if len(self._settings.objectives) == 1:
            sign = -1 if self._settings.objectives[0] in HIGHER_IS_BETTER else 1
            return [min(done, key=lambda trial: (sign * trial.values[0], trial.number)).number]
        front = {str(self._values(trial.params)): trial for trial in reversed(self._study.best_trials)}
        first = self._study.directions[0].name == "MAXIMIZE"
        ordered = sorted(front.values(), key=lambda trial: -trial.values[0] if first else trial.values[0])
        return [trial.number for trial in ordered]

    def task(self, trial_id: int = -1) -> TrialTask:
        """What the process that runs a trial must know; -1 for one that is not to be run."""
        settings = self._settings
        name = self._study.study_name
        return TrialTask(self._journal, name, trial_id, [*settings.objectives], settings.prunes)

    def _ended(self) -> "list[FrozenTrial]":
        trials = self._study.get_trials(deepcopy=False)
        return [t for t in trials if t.state.is_finished() and INTERRUPTED not in t.user_attrs]

    def _tried(self, trial: "FrozenTrial") -> Tried:
        states = {"COMPLETE": FINISHED, "PRUNED": PRUNED, "FAIL": FAILED}
        job = dict(trial.user_attrs.get(JOB, {}))
        return Tried(trial.number, states[trial.state.name], self._values(trial.params), job)

    def _values(self, params: Mapping[str, Any]) -> dict[str, Any]:
        return {key: rounded(dimension, params[key]) for key, dimension in self._dimensions.items()}


@dataclass(frozen=True)
class Pruning:
    """Given the validation part's metrics after each epoch; raises PrunedError where the trial is hopeless."""

    task: TrialTask

    def __call__(self, epoch: int, epochs: int, measured: Mapping[str, float]) -> None:
        """Only an epoch that is not the last one can be the last."""
        (objective,) = self.task.objectives
        value = measured[objective]
        if not math.isfinite(value):
            return
        check_installed()
        storage = _storage(self.task.journal)
        storage.set_trial_intermediate_value(self.task.trial_id, epoch, value)
        if epoch < epochs and (why := self._hopeless(epoch, epochs)):
            raise PrunedError(f"pruned at epoch {epoch} of {epochs}: {why}")

    def _hopeless(self, epoch: int, epochs: int) -> str:
        import numpy as np
        import optuna
        from optuna.trial import TrialState

        storage = _storage(self.task.journal)
        first = max(2, epochs // WARM_UP + 1)
        pruner = optuna.pruners.MedianPruner(n_startup_trials=STARTUP_TRIALS, n_warmup_steps=first)
        study = optuna.load_study(study_name=self.task.study, storage=storage, pruner=pruner)
        trial = storage.get_trial(self.task.trial_id)
        if not pruner.prune(study, trial):
            return ""
        (objective,) = self.task.objectives
        done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        others = [t.intermediate_values[epoch] for t in done if epoch in t.intermediate_values]
        higher = objective in HIGHER_IS_BETTER
        best = (max if higher else min)(trial.intermediate_values.values())
        return (
            f"{in_words(objective, best)} at best, {'below' if higher else 'above'} the median "
            f"{in_words(objective, float(np.median(others))).rsplit(' ', 1)[-1]} of {len(others)} trials at this epoch"
        )


def in_words(objective: str, value: float) -> str:
    """`validation accuracy 93.00%`."""
    names = {
        "val/accuracy_top1": f"validation accuracy {value:.2%}",
        "val/nll_nats": f"validation NLL {value:.4f}",
        "cost/params_total": f"parameters {value:,.0f}",
        "cost/macs": f"MACs {value:,.0f}",
        "cost/weights_bytes": f"bytes {value:,.0f}",
        "cost/latency_ms_p50": f"latency, ms, {value:.3f}",
    }
    return names[objective]


def direction(objective: str) -> Literal["maximize", "minimize"]:
    """`maximize` or `minimize`."""
    return "maximize" if objective in HIGHER_IS_BETTER else "minimize"


def distribution(dimension: Dimension) -> "BaseDistribution":
    """Optuna's word for it."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if dimension.choices is not None:
        return CategoricalDistribution([_category(choice) for choice in dimension.choices])
    assert dimension.low is not None
    assert dimension.high is not None
    if dimension.whole:
        return IntDistribution(int(dimension.low), int(dimension.high), dimension.log, int(dimension.step or 1))
    return FloatDistribution(float(dimension.low), float(dimension.high), dimension.log, dimension.step)


def rounded(dimension: Dimension, value: Any) -> Any:
    """The value that is run: a number between the ends with few digits, a choice as it was given."""
    if dimension.choices is not None:
        return next(choice for choice in dimension.choices if _category(choice) == value)
    if dimension.whole:
        return int(value)
    assert dimension.low is not None
    assert dimension.high is not None
    return min(max(float(f"{value:.{DIGITS}g}"), float(dimension.low)), float(dimension.high))


def _category(choice: Any) -> Any:
    """Optuna's categories are single values; a list is known by its text."""
    return str(choice) if isinstance(choice, list) else choice


@cache
def _storage(journal: str) -> "JournalStorage":
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    return JournalStorage(JournalFileBackend(journal))
