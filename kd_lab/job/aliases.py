"""One YAML per network, recipe, optimizer: `teacher/mlp` and `student/mlp` are both conf/model/mlp.yaml."""

from pathlib import Path
from typing import ClassVar

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf

from kd_lab.job.catalogue import conf_dir
from kd_lab.job.published import PUBLISHED, for_all_pairs

ALIASES = {
    "teacher": "model",
    "student": "model",
    "member": "model",
    "recipe": "recipe",
    "optimizer": "optimizer",
    "schedule": "schedule",
    "augment": "augment",
    "mix": "mix",
}
"""The last named group of a path decides: teacher/member is model, student/recipe/schedule is schedule."""


class AliasSource(ConfigSource):
    """Serves `teacher/mlp` and `student/mlp` from the one file conf/model/mlp.yaml, and likewise below them.

    Also `published/cifar100/PAIR/ft` from published/cifar100/ft.yaml, where the pair has none of its own.
    """

    @staticmethod
    def scheme() -> str:
        """The scheme of its entry in the search path."""
        return "kdlab"

    def load_config(self, config_path: str) -> ConfigResult:
        """The real file's content; what stands in one for all pairs says itself where it belongs."""
        config = OmegaConf.load(file_of(config_path))
        package = "_global_" if config_path.startswith(f"{PUBLISHED}/") else None
        return ConfigResult(self.provider, f"kdlab://{self.path}", config, {"package": package})

    def available(self) -> bool:
        """Always."""
        return True

    def is_group(self, config_path: str) -> bool:
        """Whether the path is an alias of a group."""
        return _group(config_path).is_dir()

    def is_config(self, config_path: str) -> bool:
        """Whether the path is an alias of a file."""
        return file_of(config_path).is_file()

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        """What stands in the group; at the top, the two groups that a command line names."""
        if config_path == "":
            return [] if results_filter == ObjectType.CONFIG else ["student", "teacher"]
        return names(config_path) if self.is_group(config_path) and results_filter != ObjectType.GROUP else []


def names(group: str) -> list[str]:
    """The choices in a group of conf/ or an alias of one; without a group, what a command line can choose."""
    if group:
        folder = _group(group) if _group(group).is_dir() else conf_dir() / group
        return sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml"))
    groups = sorted(path.name for path in conf_dir().iterdir() if path.is_dir() and path.name not in ALIASES.values())
    return [*groups, "teacher", "student"]


def is_there(file: str) -> bool:
    """Whether conf/, or the user's own folder, has this file."""
    return any((folder / f"{file}.yaml").is_file() for folder in (AliasPath.folder, conf_dir()) if folder is not None)


def _group(path: str) -> Path:
    """The real group behind an alias of one; no folder where it is none."""
    parts = path.strip("/").split("/")
    for i in range(len(parts) - 1, -1, -1):
        if parts[i] in ALIASES:
            return conf_dir().joinpath(ALIASES[parts[i]], *parts[i + 1 :])
    return conf_dir() / "no alias"


def file_of(path: str) -> Path:
    """The real file behind an alias; its own name may be that of a group (student/recipe/student)."""
    if (general := for_all_pairs(path.removesuffix(".yaml"))) is not None:
        return conf_dir() / f"{general}.yaml"
    group, slash, name = path.removesuffix(".yaml").rpartition("/")
    return (_group(group) if slash else conf_dir() / "no alias") / f"{name}.yaml"


class AliasPath(SearchPathPlugin):
    """Puts the aliases into Hydra's search path, and before them a folder of the user's (--config-dir)."""

    folder: ClassVar[Path | None] = None

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Called by Hydra."""
        if self.folder is not None:
            search_path.append("command-line", f"file://{self.folder}")
        search_path.append("kd-lab", "kdlab://conf")


def register() -> None:
    """Tell Hydra of the aliases, and of the one sum that our YAML needs."""
    Plugins.instance().register(AliasSource)
    Plugins.instance().register(AliasPath)
    # Twelve digits, so that the rest of 0.9 is 0.1.
    OmegaConf.register_new_resolver("rest_of_1", lambda weight: round(1 - weight, 12), replace=True)
