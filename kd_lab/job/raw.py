"""A dataset's samples as they came, before it did anything to them: what a kept network is given."""

import json
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from kd_lab.inputs import Inputs, each, facts
from kd_lab.job.strict import Node
from kd_lab.types import Data, Prepare, Source, Undoes

LARGEST_EXAMPLE = 2**20
"""Characters of an input example; a sample that needs more is kept with no run."""


@dataclass(frozen=True)
class _AsTheyCame:
    """The rows of a source with what made them undone."""

    source: Source
    made: Undoes

    def read(self, rows: Tensor) -> Inputs:
        """See `Source.read`."""
        return self.made.undone(self.source.read(rows))


def as_taken(data: Data) -> tuple[Data, list[Node]]:
    """The dataset with its rows as a network that was kept takes them, and the nodes of what is then done to them.

    Where something is done to them that cannot be kept, or undone, a network takes them prepared.
    """
    steps: list[Prepare] = [step for step in (data.from_raw, data.prepare) if step is not None]
    nodes: list[Node] = [step.node for step in steps if hasattr(step, "node")]
    made = data.from_raw
    if len(nodes) < len(steps) or not (made is None or isinstance(made, Undoes)):
        return data, []
    source = data.source if made is None else _AsTheyCame(data.source, made)
    return replace(data, source=source, from_raw=None, prepare=None), nodes


def written(example: Inputs) -> str | None:
    """Samples [B, ...] as MLflow keeps an input example, JSON; None where that is too long for every run."""
    text = json.dumps(facts(example, lambda one: one.tolist()))
    return text if len(text) <= LARGEST_EXAMPLE else None


def read_back(text: str, dtypes: object) -> Inputs:
    """The samples that `written` wrote.

    Raises:
        ValueError, KeyError, TypeError, RuntimeError: it is something else.
    """
    said = json.loads(text)
    if isinstance(dtypes, dict):
        return {name: torch.tensor(said[name], dtype=getattr(torch, kind)) for name, kind in dtypes.items()}
    return torch.tensor(said, dtype=getattr(torch, str(dtypes)))


def repeated(inputs: Inputs, count: int) -> Inputs:
    """So many samples [count, ...]: these, again and again."""
    return each(inputs, lambda one: one[torch.arange(count) % len(one)])


def listed(shape: object) -> object:
    """A shape, or shapes by name, as messages show them."""
    assert isinstance(shape, dict | tuple)
    return {name: list(one) for name, one in shape.items()} if isinstance(shape, dict) else list(shape)
