"""What Hydra says of overrides that make no config, in one sentence: the key, the value, what was expected."""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from kd_lab.errors import choices
from kd_lab.job.arguments import key_of

COMPOSING = (HydraException, OmegaConfBaseException, ValueError)
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
    if not wrong or isinstance(error, OSError):
        return " ".join(str(error).split())
    if not key:
        return _no_override(wrong)
    if not isinstance(error, HydraException | OmegaConfBaseException):
        return f"{wrong}: expected the name of a choice; see `kd-lab list {key.split('/')[-1]}`"
    if key not in _paths(before):
        return f"{wrong}: no such key; {_nearest(key, compose([]), known(''))}"
    if wrong.startswith("+"):
        return f"{wrong}: this key is there already; expected {wrong.lstrip('+')}"
    return f"{wrong}: {' '.join(str(error.__cause__ or error).split())}"


def _no_override(override: str) -> str:
    return f"{override}: expected an override of the form key=value, such as seed=1 or loss=kd"


def _no_choice(error: MissingConfigException, known: Callable[[str], Sequence[str]]) -> str:
    group, _, name = str(error.missing_cfg_file).rpartition("/")
    given = f"{group}={name}" if error.options is not None else f"{group}=[...{name}...]"
    return f"{given}: no such {group.split('/')[-1]}; {choices(name, list(error.options or known(group)))}"


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


def _nearest(key: str, config: DictConfig, groups: Sequence[str]) -> str:
    """The known keys of the default config nearest to a misspelt one."""
    import difflib

    keys = [*_paths(config), *groups]
    if key in keys:
        return "what else is chosen here does not have it, see the same command with --cfg job and without this"
    near = difflib.get_close_matches(key, keys, n=1, cutoff=0.6)
    if near:
        return f"did you mean {near[0]}?"
    last = [known for known in keys if known.split(".")[-1] == key.rsplit(".", maxsplit=1)[-1]]
    return (
        f"did you mean {last[0]}?" if last else "see `kd-lab --cfg job` for every key, `kd-lab list` for every choice"
    )


def _paths(node: object, prefix: str = "") -> Iterator[str]:
    if isinstance(node, DictConfig):
        for key in map(str, node):
            yield f"{prefix}{key}"
            if not OmegaConf.is_interpolation(node, key) and not OmegaConf.is_missing(node, key):
                yield from _paths(node[key], f"{prefix}{key}.")
