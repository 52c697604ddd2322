"""`sweep=optuna`, `sweep=pbt`: trials or a population on the validation part, then what was chosen by several seeds."""

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

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
from kd_lab.sweep.jobs import Job, check_processes, planned
from kd_lab.sweep.journal import Journal
from kd_lab.sweep.learned import check_keys, with_schedule
from kd_lab.sweep.members import found_by
from kd_lab.sweep.population import check_dimensions
from kd_lab.sweep.queue import Queue
from kd_lab.sweep.rounds import Rounds, ends_of
from kd_lab.sweep.space import Space, label_of
from kd_lab.sweep.states import JobFolder
from kd_lab.sweep.sweep import TITLE, hold, new_sweep_id, sweep_id
from kd_lab.sweep.trials import Trials, check_installed
from kd_lab.sweep.workers import Grid, Jobs, Workers

if TYPE_CHECKING:
    from kd_lab.sweep.trial import Checked


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
        if settings.pbt is None:
            check_installed()
        else:
            check_dimensions(space.dimensions)
        self._sweep, self._settings, self._space = sweep, settings, space
        self._composed, self._folder = composed, folder

    def run(self, started: float) -> None:
        """Run it all; how each trial and job went is in the folder.

        Raises:
            UserError: something of it cannot be used; nothing was written.
            TrainingFailedError: of a population no member is left.
        """
        sweep, pbt, self._started = self._sweep, self._settings.pbt, started
        configs = self._corners()
        check_servers(configs)
        self._check(configs)
        cluster = Cluster(self._folder, sweep.cluster, sweep.jobs, sweep.resources) if sweep.cluster else None
        with Workers(self._folder, sweep.jobs) as workers:
            with busy("checking the space"):
                name, checked = self._named(configs, workers)
            location = Location.parse(str(configs[0]["tracking"]["uri"]))
            location.check_folders()
            # another one would take these trials for lost
            hold(configs[:1], name, f"sweep={'pbt' if pbt else 'optuna'}: this search")
            run, base = (cluster or workers).run, Job("", configs[0])
            if pbt is None:
                jobs = self._by_trials(name, location, base, run)
            else:
                ends = ends_of(checked.steps, checked.steps_per_epoch, pbt.rounds)
                jobs = self._by_population(name, location, base, run, ends)
            self._run_chosen(jobs, name, workers, run)

    def _by_trials(self, name: str, location: Location, base: Job, run: Callable[[Jobs], None]) -> list[Job]:
        """Try configurations; the jobs of what was chosen."""
        trials = Trials(location.searches, name, self._settings, self._space.dimensions)
        queue = Queue(trials, self._settings.trials, self._folder, name, drawn=self._drawn, base=base)
        with self._board("trial"):
            run(queue.until(self._settings.timeout))
            self._folder.remove_waiting()
        seeds = self._settings.final_seeds
        return [self._drawn(values, f"seed={seed}") for values in queue.chosen() for seed in seeds]

    def _by_population(
        self, name: str, location: Location, base: Job, run: Callable[[Jobs], None], ends: Sequence[int]
    ) -> list[Job]:
        """Train a population; the jobs of what its best member has learned."""
        settings = self._settings
        rounds = Rounds(
            settings,
            self._space.dimensions,
            self._folder,
            name,
            journal=Journal(location.populations, name),
            states=location.checkpoints,
            ends=ends,
            base=base,
            composed=lambda values, *more: self._composed([*self._space.overrides(values), *more]),
        )
        with self._board("turn"):
            best = rounds.run(run)
        if best is None:
            return []
        label = f"learned_by=member_{best + 1}"
        return [Job(f"{label} seed={seed}", rounds.learned(best, f"seed={seed}")) for seed in settings.final_seeds]

    def _board(self, noun: str) -> Board:
        return Board(self._folder, self._sweep.jobs, self._started, resumes=self._sweep.resume, noun=noun)

    def _corners(self) -> list[Config]:
        """Jobs at the ends of the space, to be checked beforehand; of a population with values that change."""
        corners = self._space.corners()
        configs = [self._composed(self._space.overrides(corner)) for corner in corners]
        if self._settings.pbt is None:
            return configs
        check_keys(configs[0], [*self._space.dimensions])
        return [
            with_schedule(config, [0.5], [corner, corner], followed=True)
            for config, corner in zip(configs, corners, strict=True)
        ]

    def _check(self, configs: Sequence[Config]) -> None:
        jobs = self._sweep.jobs
        self._settings.check_tuned_seed(configs[0].get("seed"))
        check_processes(self._sweep, configs)
        if jobs > 1 and set(self._settings.objectives) & set(TIMED):
            raise UserError(
                f"sweep.jobs={jobs}: a latency is measured with nothing beside it; expected sweep.jobs=1, "
                "or cost/macs in its place"
            )

    def _named(self, configs: Sequence[Config], workers: Workers) -> "tuple[str, Checked]":
        """What the search goes on under: the same command, and the same of all that a result follows from."""
        pbt = self._settings.pbt
        checked: list[Checked] = workers.ask("check", configs, None if pbt is None else pbt.rounds)
        for one in checked:
            if one.reason:
                ours = any(one.reason.startswith(f"{key}=") for key in self._settings.space or {})
                hint = " (a value of sweep.search.space: KEY=VALUE fixes it, sweep.search.space=null forgets them all)"
                raise UserError(one.reason + (hint if ours else ""))
        if not self._sweep.resume:
            return new_sweep_id(), checked[0]
        settings = self._settings.model_dump(include={"seed", "objectives", "sampler", "prune", "pbt"})
        space = {key: dimension.model_dump() for key, dimension in self._space.dimensions.items()}
        facts = json.dumps([sweep_id(os.environ[TITLE]), settings, space, checked[0].key], sort_keys=True)
        return hashlib.sha256(facts.encode()).hexdigest()[:32], checked[0]

    def _drawn(self, values: Mapping[str, Any], *more: str) -> Job:
        """The job of one configuration."""
        return Job(" ".join([label_of(values), *more]), self._composed([*self._space.overrides(values), *more]))

    def _run_chosen(self, jobs: Sequence[Job], name: str, workers: Workers, run: Callable[[Jobs], None]) -> None:
        """What was chosen, with each of the final seeds, as jobs that read the test part."""
        sweep, folder = self._sweep, self._folder
        told, tried = found_by(folder.all())
        console().print(told, soft_wrap=True)
        if not jobs:
            return
        started, first = time.time(), len(folder.all())
        with busy("looking for what is done already"):
            missing = planned(jobs, folder, workers, name, resume=sweep.resume, first=first, tried=tried)
        with Board(folder, min(sweep.jobs, len(missing)), started, resumes=sweep.resume):
            run(Grid({number: job.config for number, job in enumerate(missing, start=first)}))
