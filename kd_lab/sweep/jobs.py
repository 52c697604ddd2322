"""The jobs of a sweep, put down in its scratch folder, less what was done before."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from kd_lab.errors import UserError
from kd_lab.job.compose import Config
from kd_lab.job.devices import SEVERAL
from kd_lab.job.settings import SweepSettings
from kd_lab.outside.console import console
from kd_lab.outside.text import line
from kd_lab.store.location import Location
from kd_lab.sweep.states import FOUND, JobFolder, JobState
from kd_lab.sweep.workers import Workers


@dataclass(frozen=True)
class Job:
    """One job of a sweep: what is special about it, and its composed config."""

    label: str
    config: Config


def check_processes(settings: SweepSettings, configs: Sequence[Config]) -> None:
    """Raise a UserError where jobs that take several processes are to be run at once."""
    trainers = [SEVERAL.get(str(config["trainer"].get("strategy"))) for config in configs]
    several = next(filter(None, trainers), None)
    if several and settings.jobs > 1 and settings.cluster != "slurm":
        raise UserError(
            f"sweep.jobs={settings.jobs}: trainer={several} trains each job in several processes already; "
            "expected sweep.jobs=1"
        )


def planned(
    jobs: Sequence[Job], folder: JobFolder, workers: Workers, sweep: str, *, resume: bool, first: int = 0, **facts: Any
) -> list[Job]:
    """Write the state of each job; the jobs that are to be run come first, and are returned.

    first: the number of the first one. facts: of all of them.
    """
    found: list[Any] = [None] * len(jobs)
    if resume and any(_has_store(job.config) for job in jobs):
        configs = [job.config for job in jobs]
        for sentence in workers.ask("settle", configs, sweep):
            console().print(line(sentence), soft_wrap=True)
        found = workers.ask("find", configs)
    missing = [job for job, before in zip(jobs, found, strict=True) if before is None]
    there = [(job, before) for job, before in zip(jobs, found, strict=True) if before is not None]
    for number, job in enumerate(missing, start=first):
        folder.write(state_of(number, job, sweep, **facts))
    for number, (job, before) in enumerate(there, start=first + len(missing)):
        folder.write(state_of(number, job, sweep, state=FOUND, **asdict(before), **facts))
    return missing


def state_of(number: int, job: Job, sweep: str, **facts: Any) -> JobState:
    """A job's state, waiting unless the facts say otherwise."""
    uri, study = str(job.config["tracking"]["uri"]), str(job.config["study"])
    return JobState(number=number, label=job.label, uri=uri, study=study, sweep=sweep, **facts)


def _has_store(config: Config) -> bool:
    try:
        database = Location.parse(str(config["tracking"]["uri"])).database
    except UserError:  # the job says so
        return False
    return database is None or database.exists()
