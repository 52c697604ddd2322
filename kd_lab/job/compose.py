"""A config, composed by Hydra of conf/ and of overrides, with short messages."""

import re
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import OverrideParseException
from omegaconf import DictConfig, OmegaConf, open_dict

from kd_lab.errors import UserError
from kd_lab.job.aliases import AliasPath, file_of, is_there, names, register
from kd_lab.job.arguments import expand, key_of
from kd_lab.job.catalogue import conf_dir
from kd_lab.job.mistakes import COMPOSING, explain
from kd_lab.job.networks import network_of
from kd_lab.job.published import PUBLISHED, changed
from kd_lab.job.tuned import in_effect
from kd_lab.outside.address import hide_login
from kd_lab.outside.ids import RUN, is_run_id

Config = dict[str, Any]

FOLDERS = ("config-dir", "config-path")
"""Options that name a folder of YAML files: of the user's own beside ours, and in the place of ours."""

TUNED, TUNED_LOSS = "tuned", "tuned/loss"
"""The groups of what was tuned for a dataset, and for a loss on it."""
EXPERIMENT = "experiment"
NETWORKS = {"path", "teachers", "peers"}
"""Keys of a strategy that hold networks by name."""


class Composer:
    """Composes configs, as many as are wanted."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._files: dict[str, Any] = {}
        self._plain: dict[tuple[str, ...], Config] = {}
        self.set_aside: set[str] = set()
        """The files of conf/tuned/loss that would have acted, and did not."""

    def __call__(self, overrides: Sequence[str]) -> Config:
        """The config of a job, resolved.

        Raises:
            UserError: an override that makes no config.
        """
        config = self.whole(overrides)
        HydraConfig.instance().set_config(config)  # `${hydra:...}` is looked up there
        choices = config.hydra.runtime.choices
        said = {key_of(one): one.partition("=")[2] for one in expand(list(overrides)) if "=" in one}
        brought, published = self._tuned(choices), self._published(choices.get(PUBLISHED) or said.get(PUBLISHED))
        with open_dict(config):
            del config["hydra"]
        resolved: Any = OmegaConf.to_container(config, resolve=True)
        resolved = {**resolved, "strategy": self._with_networks(resolved.get("strategy") or {})}
        own = {"tuned": in_effect(brought, resolved), "published": in_effect(published, resolved)}
        if choices.get(EXPERIMENT) is not None:
            plain = self._as_it_is(said) if said.keys() - {EXPERIMENT, "loss"} else resolved
            own[EXPERIMENT] = {"name": choices[EXPERIMENT], "changed": changed(resolved, plain)}
        return _with_whole_id(hide_login({**resolved, **own}))

    def _with_networks(self, strategy: Mapping[str, Any]) -> Config:
        """A strategy, with what builds the networks that it names.

        Raises:
            UserError: conf/model has no such network.
        """
        found = dict(strategy)
        for key in NETWORKS & found.keys():
            if not isinstance(found[key], list):
                raise UserError(f"strategy.{key}={found[key]}: expected a list of networks, such as [mlp_64]")
            found[key] = [network_of(f"strategy.{key}", one, self._model) for one in found[key]]
        return found

    def _model(self, name: str) -> dict[str, Any] | None:
        """A network of conf/model, or of the user's own folder; None where there is none."""
        file = f"model/{name}"
        if name == "none" or not is_there(file):
            return None
        found: dict[str, Any] = self._content(file)["model"]
        return found

    def _published(self, named: str | None) -> dict[str, Any]:
        """What the files of conf/published bring for this experiment with this loss, as far as there are any."""
        files = [f"{PUBLISHED}/{name}" for name in re.findall(r"[\w./-]+", str(named))]
        found = [self._content(file) for file in files if is_there(file) or file_of(file).is_file()]
        return OmegaConf.to_container(OmegaConf.merge(*found)) if found else {}  # type: ignore[return-value]

    def _as_it_is(self, said: Mapping[str, str]) -> Config:
        """The experiment with this loss, as published, and nothing else that was said."""
        groups = [group for group in (EXPERIMENT, "loss", PUBLISHED) if said.get(group, "none") != "none"]
        words = tuple(f"{group}={said[group]}" for group in groups)
        if words not in self._plain:
            plain = self._composed(expand(list(words)))
            HydraConfig.instance().set_config(plain)
            with open_dict(plain):
                del plain["hydra"]
            self._plain[words] = OmegaConf.to_container(plain, resolve=True)  # type: ignore[assignment]
        return self._plain[words]

    def _tuned(self, chosen: Mapping[str, str]) -> dict[str, Any]:
        """What the files of conf/tuned bring for what was chosen, as far as there are any."""
        brought: dict[str, Any] = {}
        for file in (f"{group}/{chosen.get(group)}" for group in (TUNED, TUNED_LOSS)):
            if is_there(file):
                brought |= self._content(file)
        ours = f"{chosen.get('dataset')}_{chosen.get('loss')}"
        if chosen.get(TUNED_LOSS) != ours and is_there(f"{TUNED_LOSS}/{ours}"):
            self.set_aside.add(ours)
        return brought

    def _content(self, file: str) -> dict[str, Any]:
        """A file of conf/, composed, once."""
        if file not in self._files:
            self._files[file] = OmegaConf.to_container(hydra.compose(file))
        return dict(self._files[file])

    def single(self, overrides: Sequence[str], instead: str) -> Config:
        """The config of the only job, resolved.

        Args:
            overrides: none of which is a sweep.
            instead: what is expected in the place of one that is.

        Raises:
            UserError: an override that is a sweep, or makes no config.
        """
        for override in self.parsed(overrides):
            if override.is_sweep_override():
                raise UserError(f"{override.input_line}: is a sweep; expected {instead}")
        return self(overrides)

    def parsed(self, overrides: Sequence[str]) -> list[Override]:
        """The overrides in Hydra's grammar, sweeps among them.

        Raises:
            UserError: one that is none.
        """
        parser = OverridesParser.create(GlobalHydra.instance().config_loader())
        try:
            return parser.parse_overrides(expand(list(overrides)))
        except OverrideParseException as error:
            raise UserError(explain(error, overrides, self._composed, names)) from error

    def whole(self, overrides: Sequence[str]) -> DictConfig:
        """With Hydra's own settings, not resolved."""
        expanded = expand(list(overrides))
        try:
            return self._composed(expanded)
        except COMPOSING as error:
            raise UserError(explain(error, expanded, self._composed, names)) from error

    def _composed(self, overrides: Sequence[str]) -> DictConfig:
        return hydra.compose(self._name, list(overrides), return_hydra_config=True)


def _with_whole_id(config: Config) -> Config:
    """`teacher.weights=run:ID`, of which the first characters were typed, with the id of the only run that is meant.

    Here, because all that the job is found again by follows from the whole one.

    Raises:
        UserError: there is no such store or run, or several begin so.
    """
    source, tracking = config.get("teacher", {}).get("weights"), config.get("tracking", {})
    if isinstance(source, str) and source.startswith(RUN) and not is_run_id(source.removeprefix(RUN)):
        from kd_lab.store.store import Store

        try:
            store = Store.existing(str(tracking.get("uri")), although_away=tracking.get("offline") == "fallback")
            config["teacher"]["weights"] = f"{RUN}{store.whole_id(source.removeprefix(RUN))}"
        except UserError as error:
            raise UserError(f"teacher.weights={error}") from error
    return config


@contextmanager
def composing(options: Namespace) -> Iterator[Composer]:
    """Compose from conf/, and from where the options say.

    Raises:
        UserError: there is no such folder.
    """
    own, instead = (_folder(f"--{name}", getattr(options, name.replace("-", "_"))) for name in FOLDERS)
    register()
    AliasPath.folder, folder = own, instead or conf_dir()
    with hydra.initialize_config_dir(str(folder), version_base="1.3", job_name="kd-lab"):
        yield Composer(options.config_name)


def _folder(option: str, said: str | None) -> Path | None:
    """A folder of YAML files, in full.

    Raises:
        UserError: there is no such folder.
    """
    if said is None:
        return None
    folder = Path(said).expanduser().absolute()  # the shell leaves ~ alone after =
    if not folder.is_dir():
        raise UserError(f"{option}={said}: expected a folder, but there is none")
    return folder


def check_complete(node: Any, path: str = "") -> None:
    """Raise a UserError for the first value that the user has yet to give (`???` in YAML)."""
    if node == "???":
        raise UserError(f"{path}: a value is missing; expected {path}=...")
    if isinstance(node, dict):
        for key, value in node.items():
            check_complete(value, f"{path}.{key}" if path else str(key))
