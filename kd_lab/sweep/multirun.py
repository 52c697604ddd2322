"""`kd-lab -m`: every combination of the values, less what was done before, and a table meanwhile; or a search."""

import itertools
import os
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from importlib import import_module
from pathlib import Path

from hydra.core.override_parser.types import Override
from omegaconf import OmegaConf

from kd_lab.errors import UserError
from kd_lab.job.arguments import key_of
from kd_lab.job.compose import TUNED_LOSS, Composer
from kd_lab.job.console import busy
from kd_lab.job.offline import check_servers, other_store
from kd_lab.job.settings import SweepSettings
from kd_lab.job.strict import parsed
from kd_lab.outside.console import console
from kd_lab.sweep.board import Board
from kd_lab.sweep.cluster import Cluster
from kd_lab.sweep.jobs import Job, check_processes, planned
from kd_lab.sweep.search import Search
from kd_lab.sweep.space import space_of
from kd_lab.sweep.states import JobFolder
from kd_lab.sweep.sweep import FOLDER, TITLE, hold, new_sweep_id, sweep_id
from kd_lab.sweep.workers import Grid, Workers

UNTUNED = f"{TUNED_LOSS}=none"


def multirun(typed: Sequence[str], compose: Composer) -> None:
    """Run the jobs that these overrides make; how each one went is in the sweep's folder.

    Raises:
        UserError: the settings of the sweep cannot be used, or there is a job that cannot be composed.
    """
    started = time.time()
    settings, overrides = swept(typed, compose)
    folder = JobFolder(Path(os.environ[FOLDER]))
    if settings.search is not None:
        Search(settings, settings.search, space_of(settings.search, overrides), compose, folder).run(started)
    else:
        with Workers(folder, settings.jobs) as workers:
            workers.start()
            with busy("putting the jobs together"):
                jobs = listed(overrides, compose)
            elsewhere = {other_store(str(job.config["tracking"]["uri"])) for job in jobs}
            for sentence in filter(None, [*_repeated(overrides), *elsewhere]):
                console().print(sentence, style="yellow", soft_wrap=True)
            if compose.set_aside and not any(key_of(override) == TUNED_LOSS for override in typed):
                console().print(as_published(compose.set_aside), style="dim", soft_wrap=True)
            _run(jobs, settings, workers, started)


def as_published(set_aside: Collection[str]) -> str:
    """That what is tuned for one loss alone is left out, and how it is kept."""
    files = ", ".join(f"conf/{TUNED_LOSS}/{name}.yaml" for name in sorted(set_aside))
    return (
        f"The losses are compared as published, so {files} is left out; 'tuned/loss=${{dataset}}_${{loss}}' keeps what "
        "is tuned"
    )


def swept(typed: Sequence[str], compose: Composer) -> tuple[SweepSettings, list[Override]]:
    """How the sweep is run, and its overrides: those of the grid that was chosen, and those that were typed.

    A sweep over losses treats all alike unless told: what is tuned for one of them does not act.

    Raises:
        UserError: the settings of the sweep cannot be used.
    """
    for override in compose.parsed(typed):
        if override.is_sweep_override() and override.key_or_group.startswith("sweep."):
            raise UserError(f"{override.input_line}: is one for all jobs of a sweep; expected a single value")
    own = compose.whole([override for override in typed if key_of(override).startswith(("sweep", "hydra"))])
    settings = parsed("sweep", OmegaConf.to_container(own.sweep, resolve=True), SweepSettings)
    grid = [f"{key}={values}" for key, values in (own.hydra.sweeper.params or {}).items()]
    overrides = compose.parsed([*grid, *typed])
    return settings, [*overrides, *compose.parsed([UNTUNED] if _compares_losses(overrides) else [])]


def _compares_losses(overrides: Sequence[Override]) -> bool:
    """Whether losses are swept over, and nobody said whether what is tuned for one of them acts."""
    swept_over = {override.get_key_element() for override in overrides if override.is_sweep_override()}
    return "loss" in swept_over and all(override.get_key_element() != TUNED_LOSS for override in overrides)


def listed(overrides: Sequence[Override], compose: Composer) -> list[Job]:
    """The job of each combination of the values, composed.

    Raises:
        UserError: values that cannot be listed, or a job that cannot be composed.
    """
    return [Job(label, compose(job)) for label, job in _combinations(overrides)]


def _combinations(overrides: Sequence[Override]) -> Iterator[tuple[str, list[str]]]:
    """What is special about each job, and its overrides; the last one changes first."""
    values: dict[str, list[str]] = {}
    for override in overrides:
        key = override.get_key_element()
        if not override.is_sweep_override():
            values[key] = [f"{key}={override.get_value_element_as_str()}"]
        elif override.is_discrete_sweep():
            values[key] = list(dict.fromkeys(f"{key}={value}" for value in override.sweep_string_iterator()))
        else:
            given = str(override.input_line).lstrip("+")
            raise UserError(f"{given}: expected values separated by commas, or sweep=optuna, to search it")
    keys = {override.get_key_element() for override in overrides if override.is_sweep_override()}
    for job in itertools.product(*values.values()):
        special = [one.lstrip("+") for key, one in zip(values, job, strict=True) if key in keys]
        yield " ".join(special), list(job)


def _repeated(overrides: Sequence[Override]) -> Iterator[str]:
    """A sentence for each sweep that has a value more than once."""
    for override in overrides:
        if override.is_sweep_override() and override.is_discrete_sweep():
            counts = Counter(override.sweep_string_iterator())
            value, times = counts.most_common(1)[0]
            if times > 1:
                yield f"{str(override.input_line).lstrip('+')}: {value} stands there {times} times, and is run once"


def _run(jobs: Sequence[Job], settings: SweepSettings, workers: Workers, started: float) -> None:
    folder, configs = workers.folder, [job.config for job in jobs]
    check_servers(configs)
    check_processes(settings, configs)
    cluster = Cluster(folder, settings.cluster, settings.jobs, settings.resources) if settings.cluster else None
    for _ in range(1, 1 if cluster else min(settings.jobs, len(jobs))):
        workers.start()
    with busy("looking for what is done already"):
        name = sweep_id(os.environ[TITLE]) if settings.resume else new_sweep_id()
        hold(configs, name)
        missing = planned(jobs, folder, workers, name, resume=settings.resume)
    if cluster is not None:
        workers.close()
    threading.Thread(target=import_module, args=["kd_lab.sweep.summary"], daemon=True).start()  # the end needs it
    with Board(folder, min(settings.jobs, len(missing)), started, resumes=settings.resume):
        (cluster or workers).run(Grid({number: job.config for number, job in enumerate(missing)}))
