"""What kd-lab adds to Hydra: where conf/ is, one YAML per network whoever uses it, short overrides, short messages."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigResult, ConfigSource

import kd_lab
from kd_lab.errors import UserError, choices

ALIASES = {
    "teacher": "model",
    "student": "model",
    "member": "model",
    "recipe": "recipe",
    "optimizer": "optimizer",
    "schedule": "schedule",
    "augment": "augment",
}
"""The last named group of a path decides: teacher/member is model, student/recipe/schedule is schedule."""

GRID = "hydra_plugins.kd_lab.GridSweeper"
"""What Hydra knows the sweeper as: version 1.3 takes plug-ins only by names that begin so."""


def conf_dir() -> Path:
    """The folder of the YAML files: inside the installed package, or beside it in a clone."""
    package = Path(kd_lab.__file__).parent
    return package / "conf" if (package / "conf").is_dir() else package.parent / "conf"


class AliasSource(ConfigSource):
    """Serves `teacher/mlp` and `student/mlp` from the one file conf/model/mlp.yaml, and likewise below them."""

    def __init__(self, provider: str, path: str) -> None:
        super().__init__(provider=provider, path=path)
        self._files = FileConfigSource(provider=provider, path=f"file://{conf_dir()}")

    @staticmethod
    def scheme() -> str:
        """The scheme of `hydra.searchpath` entries."""
        return "kdlab"

    def _group(self, path: str) -> str | None:
        """The real group behind an alias of one."""
        parts = path.split("/")
        for i in range(len(parts) - 1, -1, -1):
            if parts[i] in ALIASES:
                return "/".join([ALIASES[parts[i]], *parts[i + 1 :]])
        return None

    def _file(self, path: str) -> str | None:
        """The real file behind an alias; its own name may be that of a group (student/recipe/student)."""
        group, slash, name = path.rpartition("/")
        real = self._group(group) if slash else None
        return f"{real}/{name}" if real else None

    def load_config(self, config_path: str) -> ConfigResult:
        """The real file's content."""
        real = self._file(config_path)
        assert real is not None
        return self._files.load_config(real)

    def available(self) -> bool:
        """Always."""
        return True

    def is_group(self, config_path: str) -> bool:
        """Whether the path is an alias of a group."""
        real = self._group(config_path)
        return real is not None and self._files.is_group(real)

    def is_config(self, config_path: str) -> bool:
        """Whether the path is an alias of a file."""
        real = self._file(config_path)
        return real is not None and self._files.is_config(real)

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        """What stands in the group; at the top, the two groups that a command line names."""
        if config_path == "":
            return [] if results_filter == ObjectType.CONFIG else ["student", "teacher"]
        real = self._group(config_path)
        return self._files.list(real, results_filter) if real and self._files.is_group(real) else []


def register() -> None:
    """Tell Hydra of the alias source, of the sweeper's name, and of the one sum that our YAML needs."""
    from hydra.core.config_store import ConfigStore
    from hydra.core.plugins import Plugins
    from omegaconf import OmegaConf

    Plugins.instance().register(AliasSource)
    sweeper = {"_target_": GRID, "params": None}
    ConfigStore.instance().store(group="hydra/sweeper", name="grid", node=sweeper, provider="kd_lab")
    # Twelve digits, so that the rest of 0.9 is 0.1.
    OmegaConf.register_new_resolver("rest_of_1", lambda weight: round(1 - weight, 12), replace=True)


def separated(arguments: list[str]) -> tuple[list[str], list[str]]:
    """The overrides, and Hydra's options with their values: Hydra wants the overrides side by side, a user need not.

    Raises:
        UserError: an option that does not exist, or a value that it does not take.
    """
    from argparse import ArgumentError

    from hydra._internal.utils import get_args_parser

    parser = get_args_parser()
    parser.exit_on_error, parser.allow_abbrev = False, False
    try:
        parsed, unknown = parser.parse_known_intermixed_args(arguments)
    except ArgumentError as error:
        raise UserError(f"{error.argument_name}: {error.message}") from error
    if unknown:
        raise UserError(f"{unknown[0]}: no such option; see `kd-lab --help`")
    if parsed.multirun and (parsed.cfg or parsed.info):
        raise UserError(f"{'--cfg' if parsed.cfg else '--info'}: shows the config of one job; leave -m away")
    return parsed.overrides, [a for a in arguments if a not in parsed.overrides]


def expand(arguments: list[str]) -> list[str]:
    """Complete the overrides with what they imply, so that the short form a user expects to work does.

    - `loss.temperature=2`: the key of a single loss, whichever is chosen.
    - `loss.terms.kd.standardize=true`, `loss.terms.kd.schedules.temperature=cosine`: what any loss can be given.
    - `student._target_=my.Net`: the arguments of the built-in network are left out (student=custom).
    - `student.recipe.epochs=3`: steps is null, and the other way round.
    - `loss=[kd,soft_label]`: no settings tuned for a single loss.
    """
    keys = {_key(a) for a in arguments if "=" in a}
    return [_short(a) for a in arguments] + list(_implied(arguments, keys))


def _key(argument: str) -> str:
    return argument.split("=", 1)[0].lstrip("+~")


def _short(argument: str) -> str:
    """What Hydra must be told to add, where no YAML has the key: it is a setting of any loss, or of submitit."""
    key, _, value = argument.partition("=")
    if re.fullmatch(r"loss\.(terms\.\w+\.)?schedules\.\w+", key):
        by_name = re.fullmatch(r"[a-z_]+(,[a-z_]+)*", value) and value != "null"
        return f"+schedule@{argument}" if by_name else f"++{argument}"
    of_the_only_one = re.fullmatch(r"loss\.(?!terms\b|hard_weight\b|schedules\b)\w+", key)
    of_any = re.fullmatch(r"loss\.terms\.\w+\.(standardize|student_layers|teacher_layers)", key)
    of_a_cluster = key.startswith("sweep.resources.")
    return f"++{argument}" if of_the_only_one or of_any or of_a_cluster else argument


def _implied(arguments: list[str], keys: set[str]) -> Iterator[str]:
    for argument in arguments:
        key, _, value = argument.partition("=")
        if key in {"teacher._target_", "student._target_"} and key.split(".")[0] not in keys:
            yield f"{key.split('.')[0]}=custom"
        if key == "loss" and "[" in value and "tuned/loss" not in keys:
            yield "tuned/loss=none"
        length = re.match(r"(.+\.recipe)\.(epochs|steps)$", key)
        if length and value != "null":
            other = f"{length[1]}.{'steps' if length[2] == 'epochs' else 'epochs'}"
            if other not in keys:
                yield f"{other}=null"


NOT_A_NAME = "Config group override must be a string or a list"
"""How Hydra 1.3 begins what it says, as a bare ValueError, of `teacher=null` and of `=3`."""


def explain(error: Exception, arguments: list[str]) -> str:
    """Hydra's message in one sentence: the key, the value, what was expected."""
    from hydra.errors import OverrideParseException

    text = str(error)
    if text.startswith(NOT_A_NAME):
        return _not_a_name(arguments)
    missing = re.search(
        r"Could not find '([^']+)/([^'/]+)'(?:.*?Available options in '[^']+':\n(.*?)\nConfig)?", text, re.S
    )
    if missing:
        known = [line.strip() for line in (missing[3] or "").splitlines()]
        return f"{missing[1]}={missing[2]}: no such {missing[1].split('/')[-1]}; {choices(missing[2], known)}"
    of_several = re.search(r"Could not load '([^']+)/([^'/]+)'", text)
    if of_several:
        group, name = of_several.groups()
        folder = conf_dir() / ALIASES.get(group.split("/")[-1], group)
        known = sorted(p.stem for p in folder.glob("*.yaml"))
        return f"{group}=[...{name}...]: no such {group.split('/')[-1]}; {choices(name, known)}"
    unknown = re.search(r"Could not (?:override|append to config|delete from config)[^']*'([^']+)'", text)
    if unknown:
        key = unknown[1]
        given = next((a for a in arguments if _key(a) == key), key)
        return f"{given}: no such key; {_nearest_key(key)}"
    if isinstance(error, OverrideParseException):
        return f"{error.override}: expected an override of the form key=value, such as seed=1 or loss=kd"
    return " ".join(text.split())


def _not_a_name(arguments: list[str]) -> str:
    """Which override is meant Hydra does not tell: the first that chooses a part with something that is no name."""
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not key:
            return f"{argument}: expected an override of the form key=value, such as seed=1 or loss=kd"
        if equals and "." not in key and re.fullmatch(r"null|true|false|[-+.\de]*", value, re.I):
            return f"{argument}: expected the name of a choice; see `kd-lab list {key.split('/')[-1]}`"
    return "expected the name of a choice where a part is chosen; see `kd-lab list`"


def _nearest_key(key: str) -> str:
    """The known keys of the default config nearest to a misspelt one."""
    import difflib

    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    GlobalHydra.instance().clear()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = compose("config")
    groups = sorted(p.name for p in conf_dir().iterdir() if p.is_dir() and p.name not in ALIASES.values())
    known = [*_paths(config), *groups, "teacher", "student"]
    if key in known:
        return "what else is chosen here does not have it, see the same command with --cfg job and without this"
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    if near:
        return f"did you mean {near[0]}?"
    last = [k for k in known if k.split(".")[-1] == key.rsplit(".", maxsplit=1)[-1]]
    return (
        f"did you mean {last[0]}?" if last else "see `kd-lab --cfg job` for every key, `kd-lab list` for every choice"
    )


def _paths(node: object, prefix: str = "") -> Iterator[str]:
    from omegaconf import DictConfig, OmegaConf

    if isinstance(node, DictConfig):
        for key in map(str, node):
            yield f"{prefix}{key}"
            if not OmegaConf.is_interpolation(node, key) and not OmegaConf.is_missing(node, key):
                yield from _paths(node[key], f"{prefix}{key}.")


def check_complete(node: Any, path: str = "") -> None:
    """Raise a UserError for the first value that the user has yet to give (`???` in YAML)."""
    if node == "???":
        raise UserError(f"{path}: a value is missing; expected {path}=...")
    if isinstance(node, dict):
        for key, value in node.items():
            check_complete(value, f"{path}.{key}" if path else str(key))
