"""Hydra's sweeper of kd-lab: every combination of the values, less what was done before, and a table meanwhile."""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from kd_lab.cli.board import Board
from kd_lab.cli.cluster import Cluster
from kd_lab.cli.compose import expand
from kd_lab.cli.offline import default_uri, settle
from kd_lab.cli.sweep import FOLDER, TITLE, hold, new_sweep_id, sweep_id
from kd_lab.cli.workers import Workers
from kd_lab.errors import UserError
from kd_lab.run.console import Reporter, busy
from kd_lab.run.settings import SweepSettings
from kd_lab.run.states import FOUND, JobFolder, JobState
from kd_lab.run.strict import parsed
from kd_lab.tracking.location import Location

Config = dict[str, Any]
BASIC = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"
GRID = "hydra_plugins.kd_lab.GridSweeper"
"""What Hydra knows the sweeper as: version 1.3 takes plug-ins only by names that begin so."""


@dataclass(frozen=True)
class Job:
    """One combination of the values: overrides, what is special about it, the config that they make."""

    overrides: tuple[str, ...]
    label: str
    config: Config


class GridSweeper(Sweeper):
    """Runs a grid, in processes of this machine or on a cluster; Hydra's launchers know neither states nor resuming."""

    def __init__(self, params: Mapping[str, str] | None = None) -> None:
        self.params = dict(params or {})

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:  # noqa: ARG002
        """What Hydra hands over."""
        self.context, self.master = hydra_context, config

    def sweep(self, arguments: list[str]) -> None:
        """Run the jobs; how each one went is in the sweep's folder.

        Raises:
            UserError: the settings of the sweep cannot be used.
        """
        started = time.time()
        if self.master.hydra.launcher._target_ != BASIC:
            raise UserError(
                "hydra/launcher: kd-lab starts the jobs of a sweep itself; expected sweep.jobs=N or sweep.cluster=slurm"
            )
        settings = parsed("sweep", OmegaConf.to_container(self.master.sweep, resolve=True), SweepSettings)
        with busy("putting the jobs together"):
            jobs = self._jobs(arguments)
            servers = settle([job.config for job in jobs], default_uri(), Reporter().warn)
        _check_processes(settings, jobs)
        folder = JobFolder(Path(os.environ[FOLDER]))
        cluster = Cluster(folder, settings.cluster, settings.jobs, settings.resources) if settings.cluster else None
        with Workers(folder, settings.jobs) as workers:
            with busy("looking for what is done already"):
                missing = _planned(jobs, servers, folder, workers, settings)
            hold(folder)
            if cluster is not None:
                workers.close()
            with Board(folder, min(settings.jobs, len(missing)), started, resumes=settings.resume):
                (cluster or workers).run({number: job.config for number, job in enumerate(missing)})

    def _jobs(self, arguments: list[str]) -> list[Job]:
        """Every combination, composed: what does not compose ends the sweep before it begins."""
        given = [*expand([f"{key}={values}" for key, values in self.params.items()]), *arguments]
        overrides = OverridesParser.create(self.context.config_loader).parse_overrides(given)
        swept = {o.get_key_element().lstrip("+") for o in overrides if o.is_sweep_override()}
        for override in overrides:
            if override.is_sweep_override() and override.key_or_group.startswith("sweep."):
                raise UserError(f"{override.input_line}: is one for all jobs of a sweep; expected a single value")
        (batch,) = BasicSweeper.split_arguments(overrides, None)
        return [Job(tuple(one), _label(one, swept), self._composed(one)) for one in batch]

    def _composed(self, overrides: Sequence[str]) -> Config:
        config = self.context.config_loader.load_sweep_config(self.master, list(overrides))
        before = HydraConfig.instance().cfg
        HydraConfig.instance().set_config(config)  # `${hydra:...}` is looked up there
        try:
            with open_dict(config):
                del config["hydra"]
            resolved = OmegaConf.to_container(config, resolve=True)
        finally:
            HydraConfig.instance().cfg = before
        assert isinstance(resolved, dict)
        return {str(key): value for key, value in resolved.items()}


def register() -> None:
    """Tell Hydra of the sweeper, `hydra/sweeper=grid`."""
    Plugins.instance().class_name_to_class[GRID] = GridSweeper
    node = {"_target_": GRID, "params": None}
    ConfigStore.instance().store(group="hydra/sweeper", name="grid", node=node, provider="kd_lab")


def _label(overrides: Sequence[str], swept: set[str]) -> str:
    return " ".join(o.lstrip("+") for o in overrides if o.split("=", 1)[0].lstrip("+") in swept)


def _check_processes(settings: SweepSettings, jobs: Sequence[Job]) -> None:
    several = any(job.config["trainer"].get("strategy") == "ddp_spawn" for job in jobs)
    if several and settings.jobs > 1 and settings.cluster != "slurm":
        raise UserError(
            f"sweep.jobs={settings.jobs}: trainer=ddp trains each job in several processes already; "
            "expected sweep.jobs=1"
        )


def _planned(
    jobs: Sequence[Job], servers: Sequence[str | None], folder: JobFolder, workers: Workers, settings: SweepSettings
) -> list[Job]:
    """Write the state of each job; the jobs that are to be run come first, and are returned."""
    found: list[Any] = [None] * len(jobs)
    if settings.resume and any(_has_store(job.config) for job in jobs):
        found = workers.ask("find", [job.config for job in jobs])
    name = sweep_id(os.environ[TITLE]) if settings.resume else new_sweep_id()
    missing = [(job, server) for job, server, before in zip(jobs, servers, found, strict=True) if before is None]
    there = [(j, server, before) for j, server, before in zip(jobs, servers, found, strict=True) if before is not None]
    for number, (job, server) in enumerate(missing):
        folder.write(_state(number, job, name, server=server))
    for number, (job, server, before) in enumerate(there, start=len(missing)):
        folder.write(_state(number, job, name, server=server, state=FOUND, **asdict(before)))
    return [job for job, _ in missing]


def _state(number: int, job: Job, sweep: str, **facts: Any) -> JobState:
    uri, study = str(job.config["tracking"]["uri"]), str(job.config["study"])
    return JobState(number=number, label=job.label, uri=uri, study=study, sweep=sweep, **facts)


def _has_store(config: Config) -> bool:
    try:
        database = Location.parse(str(config["tracking"]["uri"])).database
    except UserError:  # the job says so
        return False
    return database is None or database.exists()
