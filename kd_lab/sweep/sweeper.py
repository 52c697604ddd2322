"""Hydra's sweeper of kd-lab: every combination of the values, less what was done before, and a table meanwhile."""

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from kd_lab.errors import UserError
from kd_lab.job.compose import GRID, expand
from kd_lab.job.console import busy
from kd_lab.job.offline import check_servers
from kd_lab.job.settings import SweepSettings
from kd_lab.job.strict import parsed
from kd_lab.outside.address import hide_login
from kd_lab.sweep.board import Board
from kd_lab.sweep.cluster import Cluster
from kd_lab.sweep.jobs import Job, check_processes, planned
from kd_lab.sweep.search import Search
from kd_lab.sweep.space import space_of
from kd_lab.sweep.states import JobFolder
from kd_lab.sweep.sweep import FOLDER, TITLE, hold, new_sweep_id, sweep_id
from kd_lab.sweep.workers import Grid, Workers

Config = dict[str, Any]
BASIC = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"


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
        overrides = self._overrides(arguments)
        folder = JobFolder(Path(os.environ[FOLDER]))
        if settings.search is not None:
            Search(settings, settings.search, space_of(settings.search, overrides), self.composed, folder).run(started)
            return
        with busy("putting the jobs together"):
            jobs = self._jobs(overrides)
            check_servers([job.config for job in jobs])
        check_processes(settings, [job.config for job in jobs])
        cluster = Cluster(folder, settings.cluster, settings.jobs, settings.resources) if settings.cluster else None
        with Workers(folder, settings.jobs) as workers:
            with busy("looking for what is done already"):
                name = sweep_id(os.environ[TITLE]) if settings.resume else new_sweep_id()
                hold([job.config for job in jobs], name)
                missing = planned(jobs, folder, workers, name, resume=settings.resume)
            if cluster is not None:
                workers.close()
            with Board(folder, min(settings.jobs, len(missing)), started, resumes=settings.resume):
                (cluster or workers).run(Grid({number: job.config for number, job in enumerate(missing)}))

    def _overrides(self, arguments: list[str]) -> list[Override]:
        given = [*expand([f"{key}={values}" for key, values in self.params.items()]), *arguments]
        overrides = OverridesParser.create(self.context.config_loader).parse_overrides(given)
        for override in overrides:
            if override.is_sweep_override() and override.key_or_group.startswith("sweep."):
                raise UserError(f"{override.input_line}: is one for all jobs of a sweep; expected a single value")
        return overrides

    def _jobs(self, overrides: list[Override]) -> list[Job]:
        """Every combination, composed: what does not compose ends the sweep before it begins."""
        swept = {o.get_key_element().lstrip("+") for o in overrides if o.is_sweep_override()}
        for override in overrides:
            if override.is_sweep_override() and not override.is_discrete_sweep():
                told = str(override.input_line).lstrip("+")
                raise UserError(f"{told}: expected values separated by commas, or sweep=optuna, to search it")
        (batch,) = BasicSweeper.split_arguments(overrides, None)
        return [Job(_label(one, swept), self.composed(one)) for one in batch]

    def composed(self, overrides: Sequence[str]) -> Config:
        """The config that these overrides make, resolved."""
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
        return hide_login({str(key): value for key, value in resolved.items()})


def register() -> None:
    """Tell Hydra which class `hydra/sweeper=grid` names."""
    Plugins.instance().class_name_to_class[GRID] = GridSweeper


def _label(overrides: Sequence[str], swept: set[str]) -> str:
    return " ".join(o.lstrip("+") for o in overrides if o.split("=", 1)[0].lstrip("+") in swept)
