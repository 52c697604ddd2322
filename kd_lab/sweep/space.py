"""The space that a search looks through: `sweep.search.space`, and what the command line sweeps over."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.types import Glob, IntervalSweep, Override, RangeSweep

from kd_lab.errors import UserError
from kd_lab.job.arguments import expand
from kd_lab.job.search_settings import Dimension, SearchSettings
from kd_lab.job.strict import parsed

NOT_SEARCHED = ("seed", "dataset.seed", "teacher.seed", "study")


@dataclass(frozen=True)
class Space:
    """What is searched, by key (`loss.temperature`), how each key is written as an override, and what is fixed."""

    dimensions: Mapping[str, Dimension]
    written: Mapping[str, str]
    fixed: tuple[str, ...]

    def overrides(self, values: Mapping[str, Any]) -> list[str]:
        """Of one configuration, with what is fixed."""
        return [*self.fixed, *(f"{self.written[key]}={text(value)}" for key, value in values.items())]

    def corners(self) -> list[dict[str, Any]]:
        """Configurations in which every choice and every end of a range occurs: few, to be checked beforehand."""
        ends = {key: _ends(dimension) for key, dimension in self.dimensions.items()}
        most = max(map(len, ends.values()))
        return [{key: of[min(i, len(of) - 1)] for key, of in ends.items()} for i in range(most)]


def space_of(settings: SearchSettings, overrides: Sequence[Override]) -> Space:
    """What the command line says wins: `KEY=VALUE` fixes a value of the YAML's space, a sweep takes its place.

    Raises:
        UserError: something cannot be searched, or there is nothing to search.
    """
    given = {o.get_key_element().lstrip("+~"): o for o in overrides}
    swept = {key: o for key, o in given.items() if o.is_sweep_override()}
    fixed = [str(o.input_line) for o in overrides if not o.is_sweep_override()]
    dimensions: dict[str, Dimension] = {}
    written: dict[str, str] = {}
    for key, dimension in (settings.space or {}).items():
        if key not in given:
            first, *implied = expand([f"{key}=1"])
            dimensions[key], written[key] = dimension, first.partition("=")[0]
            fixed += implied
    for key, override in swept.items():
        dimensions[key] = _dimension(key, override)
        written[key] = str(override.input_line).partition("=")[0]
    for key in dimensions:
        if key in NOT_SEARCHED or key.startswith(("tracking", "sweep", "hydra")):
            where = str(given[key].input_line) if key in given else f"sweep.search.space: {key}"
            rest = "final_seeds=[1,2,3]: what was chosen is run with each" if key == "seed" else "one value for all"
            raise UserError(f"{where}: is not searched for; expected {'sweep.search.' if key == 'seed' else ''}{rest}")
    if not dimensions:
        raise UserError(
            "sweep.search.space: there is nothing to search; expected 'loss.temperature=interval(1,20)' or the like"
        )
    return Space(dimensions, written, tuple(fixed))


def _dimension(key: str, override: Override) -> Dimension:
    """Hydra's `interval(1, 20)`, `tag(log, interval(1, 20))`, `range(1, 5)`, `choice(a, b)`, `a,b`."""
    sweep: Any = override.value()
    node: dict[str, Any]
    if isinstance(sweep, Glob):
        raise UserError(f"{override.input_line}: expected the names of the choices, separated by commas")
    if isinstance(sweep, IntervalSweep):
        low, high = (int(end) if "int" in sweep.tags else end for end in (sweep.start or 0, sweep.end or 0))
        node = {"low": low, "high": high, "log": "log" in sweep.tags}
    elif isinstance(sweep, RangeSweep):  # as in Python, the end is not in it
        node = {"choices": [json.loads(one) for one in override.sweep_string_iterator()]}
    else:
        node = {"choices": [str(one) for one in override.sweep_string_iterator()]}
    return parsed(key, node, Dimension)


def text(value: Any) -> str:
    """A value as Hydra reads it in an override."""
    if isinstance(value, str):
        return value
    return json.dumps(value, separators=(",", ":"))


def label_of(values: Mapping[str, Any]) -> str:
    """What a job of these values is called: `loss.temperature=4 loss.weight=0.5`."""
    return " ".join(f"{key}={text(value)}" for key, value in values.items())


def _ends(dimension: Dimension) -> list[Any]:
    if dimension.choices is not None:
        return [text(choice) for choice in dimension.choices]
    return [dimension.low, dimension.high]
