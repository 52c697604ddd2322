"""`sweep=optuna`: trials on the validation part, then what was chosen, as ordinary jobs with several seeds."""

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from kd_lab.errors import UserError
from kd_lab.job.compose import Config
from kd_lab.job.console import busy
from kd_lab.job.offline import check_servers
from kd_lab.job.search_settings import TIMED, SearchSettings
from kd_lab.job.settings import SweepSettings
from kd_lab.outside.console import console
from kd_lab.store.location import Location
from kd_lab.sweep.board import Board
from kd_lab.sweep.cluster import Cluster
from kd_lab.sweep.jobs import Job, check_processes, planned, state_of
from kd_lab.sweep.searched import Searched
from kd_lab.sweep.space import Space, text
from kd_lab.sweep.states import FINISHED, FOUND, WAITING, JobFolder
from kd_lab.sweep.sweep import TITLE, hold, new_sweep_id, sweep_id
from kd_lab.sweep.trials import Trials, check_installed
from kd_lab.sweep.workers import Grid, Workers

KEPT = ("label", "run_id", "result", "score", "on_validation", "values", "reason", "code", "trace", "started", "ended")
"""Of a trial's state, in Optuna's journal."""


class Search:
    """One search, from the check of its space to the jobs of what was chosen."""

    def __init__(
        self,
        sweep: SweepSettings,
        settings: SearchSettings,
        space: Space,
        composed: Callable[[Sequence[str]], Config],
        folder: JobFolder,
    ) -> None:
        check_installed()
        self._sweep, self._settings, self._space = sweep, settings, space
        self._composed, self._folder = composed, folder

    def run(self, started: float) -> None:
        """Run it all; how each trial and job went is in the folder.

        Raises:
            UserError: something of it cannot be used; nothing was written.
        """
        sweep = self._sweep
        configs = [self._composed(self._space.overrides(corner)) for corner in self._space.corners()]
        check_servers(configs)
        self._check(configs)
        cluster = Cluster(self._folder, sweep.cluster, sweep.jobs, sweep.resources) if sweep.cluster else None
        with Workers(self._folder, sweep.jobs) as workers:
            with busy("checking the space"):
                name = self._name(configs, workers)
            location = Location.parse(str(configs[0]["tracking"]["uri"]))
            location.check_folders()
            hold(configs[:1], name, "sweep=optuna: this search")  # another one would take these trials for lost
            trials = Trials(location.searches, name, self._settings, self._space.dimensions)
            base = Job("", configs[0])
            queue = Queue(trials, self._settings.trials, self._folder, name, drawn=self._drawn, base=base)
            with Board(self._folder, sweep.jobs, started, resumes=sweep.resume, noun="trial"):
                (cluster or workers).run(queue.until(self._settings.timeout))
                queue.close()
            self._run_chosen(queue.chosen(), name, workers, cluster)

    def _check(self, configs: Sequence[Config]) -> None:
        jobs = self._sweep.jobs
        self._settings.check_tuned_seed(configs[0].get("seed"))
        check_processes(self._sweep, configs)
        if jobs > 1 and set(self._settings.objectives) & set(TIMED):
            raise UserError(
                f"sweep.jobs={jobs}: a latency is measured with nothing beside it; expected sweep.jobs=1, "
                "or cost/macs in its place"
            )

    def _name(self, configs: Sequence[Config], workers: Workers) -> str:
        """What the search goes on under: the same command, and the same of all that a result follows from."""
        checked = workers.ask("check", configs)
        for one in checked:
            if one.reason:
                ours = any(one.reason.startswith(f"{key}=") for key in self._settings.space or {})
                hint = " (a value of sweep.search.space: KEY=VALUE fixes it, sweep.search.space=null forgets them all)"
                raise UserError(one.reason + (hint if ours else ""))
        if not self._sweep.resume:
            return new_sweep_id()
        settings = self._settings.model_dump(include={"seed", "objectives", "prune"})
        space = {key: dimension.model_dump() for key, dimension in self._space.dimensions.items()}
        facts = json.dumps([sweep_id(os.environ[TITLE]), settings, space, checked[0].key], sort_keys=True)
        return hashlib.sha256(facts.encode()).hexdigest()[:32]

    def _drawn(self, values: Mapping[str, Any], *more: str) -> Job:
        """The job of one configuration."""
        label = " ".join([*(f"{key}={text(value)}" for key, value in values.items()), *more])
        return Job(label, self._composed([*self._space.overrides(values), *more]))

    def _run_chosen(
        self, chosen: Sequence[Mapping[str, Any]], name: str, workers: Workers, cluster: Cluster | None
    ) -> None:
        """What was chosen, with each of the final seeds, as jobs that read the test part."""
        sweep, folder = self._sweep, self._folder
        searched = Searched.of(folder.all())
        console().print(searched.sentence(), soft_wrap=True)
        jobs = [self._drawn(values, f"seed={seed}") for values in chosen for seed in self._settings.final_seeds]
        if not jobs:
            return
        started, first = time.time(), len(folder.all())
        with busy("looking for what is done already"):
            missing = planned(jobs, folder, workers, name, resume=sweep.resume, first=first, tried=len(searched.ended))
        with Board(folder, min(sweep.jobs, len(missing)), started, resumes=sweep.resume):
            (cluster or workers).run(Grid({number: job.config for number, job in enumerate(missing, start=first)}))


class Queue:
    """The trials of a search, each drawn when there is room for it."""

    def __init__(
        self,
        trials: Trials,
        most: int,
        folder: JobFolder,
        sweep: str,
        *,
        drawn: Callable[[Mapping[str, Any]], Job],
        base: Job,
    ) -> None:
        self._trials, self._folder, self._sweep, self._drawn = trials, folder, sweep, drawn
        self._optuna: dict[int, int] = {}
        self._until = float("inf")
        before = trials.before()
        for number, tried in enumerate(before):
            self._optuna[number] = tried.number
            job = replace(base, label=str(tried.job["label"]))
            # The journal lies beside the store: of what somebody may have written into it no other fact is taken.
            facts = {key: value for key, value in tried.job.items() if key in KEPT and key != "label"}
            facts["state"] = FOUND if tried.state == FINISHED else tried.state
            folder.write(state_of(number, job, sweep, trial=trials.task(), params=tried.values, **facts))
        self._next, self._end = len(before), max(most, len(before))
        for number in range(self._next, self._end):
            folder.write(state_of(number, replace(base, label=f"trial {number}"), sweep, trial=trials.task()))

    def until(self, timeout: float | None) -> "Queue":
        """Begin no trial after so many seconds."""
        if timeout is not None:
            self._until = time.monotonic() + timeout
        return self

    @property
    def left(self) -> int:
        """How many are still to be drawn."""
        return self._end - self._next if time.monotonic() < self._until else 0

    def next(self) -> tuple[int, Config]:
        """Draw the next one."""
        number = self._next
        self._next += 1
        found = self._trials.draw()
        self._optuna[number] = found.number
        job = self._drawn(found.values)
        task = self._trials.task(found.trial_id)
        self._folder.write(state_of(number, job, self._sweep, trial=task, params=found.values))
        return number, job.config

    def ended(self, number: int) -> None:
        """Tell Optuna."""
        state = self._folder.read(number)
        kept = {key: value for key, value in asdict(state).items() if key in KEPT}
        self._trials.tell(self._optuna[number], state.state, state.values, kept, lost=state.lost)

    def close(self) -> None:
        """Forget what there was no time for."""
        for state in self._folder.all():
            if state.state == WAITING:
                self._folder.remove(state.number)

    def chosen(self) -> list[dict[str, Any]]:
        """The configurations that no other one is better than; their trials are marked."""
        numbers = {optuna: number for number, optuna in self._optuna.items()}
        best = [numbers[one] for one in self._trials.best()]
        return [self._folder.change(number, chosen=True).params for number in best]
