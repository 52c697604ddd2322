"""What Hydra says of overrides that make no config, in one sentence: the key, the value, what was expected."""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from kd_lab.errors import choices
from kd_lab.job.arguments import key_of
from kd_lab.job.catalogue import choices_with
from kd_lab.job.suggestions import suggestion

NO_YAML = (YAMLError, RecursionError)
"""What reading a YAML of the user's own may raise (--config-dir)."""
COMPOSING = (HydraException, OmegaConfBaseException, ValueError, *NO_YAML)
"""What composing a config may raise; ValueError: of `teacher=null` and of `=3` (Hydra 1.3)."""

Compose = Callable[[Sequence[str]], DictConfig]


def explain(error: Exception, overrides: Sequence[str], compose: Compose, known: Callable[[str], Sequence[str]]) -> str:
    """The sentence.

    Args:
        error: what was raised.
        overrides: all of them, as they were given to Hydra.
        compose: composes some of them, to find the one that is wrong.
        known: the names in a group.
    """
    if isinstance(error, OverrideParseException):
        return _no_override(error.override)
    if isinstance(error, MissingConfigException) and "/" in (error.missing_cfg_file or ""):
        return _no_choice(error, known)
    wrong, before = _wrong(overrides, compose)
    key = key_of(wrong)
    if isinstance(error, NO_YAML):
        said = "it is nested too deeply" if isinstance(error, RecursionError) else " ".join(str(error).split())
        return f"{wrong or 'config'}: its YAML cannot be read ({said})"
    if not wrong or isinstance(error, OSError):
        return " ".join(str(error).split())
    if not key:
        return _no_override(wrong)
    if not isinstance(error, HydraException | OmegaConfBaseException):
        return f"{wrong}: expected the name of a choice; see `kd-lab list {key.split('/')[-1]}`"
    if key not in _paths(before):
        there = dict.fromkeys([*_paths(before), *_paths(compose([]))])
        keys = [path for path in there if not path.startswith("hydra")]
        return f"{wrong}: no such key; {suggestion(key, keys, [*known(''), *_groups(keys, known)], choices_with)}"
    if wrong.startswith("+"):
        return f"{wrong}: this key is there already; expected {wrong.lstrip('+')}"
    return f"{wrong}: {' '.join(str(error.__cause__ or error).split())}"


def _no_override(override: str) -> str:
    key, _, value = override.partition("=")
    if key and value:
        return f'{override.lstrip("+")}: cannot be read; expected quotes in it, such as choice("ä",b)'
    return f"{override}: expected an override of the form key=value, such as seed=1 or loss=kd"


def _no_choice(error: MissingConfigException, known: Callable[[str], Sequence[str]]) -> str:
    group, _, name = str(error.missing_cfg_file).rpartition("/")
    if group.partition("/")[0] == "experiment":  # cifar100/NAME is one name
        whole = f"{group}/{name}".removeprefix("experiment/")
        return f"experiment={whole}: no such experiment; {choices(whole, list(known('experiment')))}"
    given = f"{group}={name}" if error.options is not None else f"{group}=[...{name}...]"
    kind = group.split("/")[-1]
    told = f"{given}: no such {kind}; {choices(name, list(error.options or known(group)))}"
    is_misspelt = "did you mean" in told and not any(letter.isdigit() for letter in name)  # densenet121 is no resnet110
    if kind not in ("teacher", "student", "member") or is_misspelt:
        return told
    place = group.replace("/", ".")
    return told + "".join(
        f"; a network of {library} is {group}={library} {place}.name={name}" for library in ("timm", "torchvision")
    )


def _groups(keys: Sequence[str], known: Callable[[str], Sequence[str]]) -> list[str]:
    """Of the keys those that are chosen by name, as `student/recipe/optimizer`."""
    return [path for path in (key.replace(".", "/") for key in keys) if "/" in path and known(path)]


def _wrong(overrides: Sequence[str], compose: Compose) -> tuple[str, DictConfig]:
    """The first override without which those before it can be composed, and the config that they make."""
    chosen = [override for override in overrides if "." not in key_of(override)]  # Hydra takes these first
    ordered = [*chosen, *(override for override in overrides if override not in chosen)]

    def fails(number: int) -> bool:
        try:
            compose(ordered[:number])
        except COMPOSING:
            return True
        return False

    first = bisect_left(range(len(ordered) + 1), True, key=fails)
    return (ordered[first - 1], compose(ordered[: first - 1])) if 0 < first <= len(ordered) else ("", DictConfig({}))


def _paths(node: object, prefix: str = "") -> Iterator[str]:
    if isinstance(node, DictConfig):
        for key in map(str, node):
            yield f"{prefix}{key}"
            if not OmegaConf.is_interpolation(node, key) and not OmegaConf.is_missing(node, key):
                yield from _paths(node[key], f"{prefix}{key}.")
