"""What the rest of a training follows from, as tensors and plain values: of a module, an optimizer, random numbers."""

import random
import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from kd_lab.training import sharding

State = dict[str, Any]
"""Tensors, numbers, texts, and lists, tuples and dicts of them: what `torch.load(weights_only=True)` gives back."""


class Stateful(Protocol):
    """Whatever has to be as it was for a training to go on; the names are torch's."""

    def state_dict(self) -> State:
        """All that changes while it is used."""

    def load_state_dict(self, state_dict: State) -> None:
        """Be as it was then."""


def plain(value: Any) -> Any:
    """The same of the types that a file of weights may hold: a number of NumPy's becomes one of Python's.

    Raises:
        TypeError: it holds anything else.
    """
    if value is None or isinstance(value, Tensor | bool):
        return value
    if isinstance(value, Mapping):
        return {plain(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return list(map(plain, value)) if isinstance(value, list) else tuple(map(plain, value))
    if isinstance(value, np.generic):
        return value.item()
    for kind in (str, int, float):
        if isinstance(value, kind):
            return kind(value)  # of a subclass too
    raise TypeError(f"a {type(value).__name__} is in it, which is no number, text or tensor")


def of_module(module: nn.Module) -> State:
    """Parameters, buffers and extra state; also the buffers that its own state dict leaves out.

    Of one that processes share out, all of them call it, and the first one has it whole.
    """
    own = module.state_dict()
    versions = getattr(own, "_metadata", None)  # of each part, by which torch reads what older ones wrote
    return {
        "own": {name: sharding.whole(value) for name, value in own.items()},
        "versions": versions,
        "beside": {name: buffer for name, buffer in module.named_buffers() if name not in own},
    }


def into_module(module: nn.Module, state: Mapping[str, Any]) -> None:
    """Fill it in place."""
    now = module.state_dict()
    own: Any = OrderedDict((k, sharding.like(v, now[k]) if k in now else v) for k, v in state["own"].items())
    own._metadata = state["versions"]
    module.load_state_dict(own)
    beside = state["beside"]
    for name, buffer in module.named_buffers():
        if name in beside:
            buffer.copy_(beside[name])


def of_optimizer(optimizer: torch.optim.Optimizer) -> State:
    """Its state and groups, whole in the first process as in `of_module`."""
    state: State = sharding.whole(optimizer.state_dict())
    return state


def into_optimizer(optimizer: torch.optim.Optimizer, state: State) -> None:
    """Fill it; its groups stay the objects that they are, because schedules hold them."""
    groups = optimizer.param_groups
    parameters = dict(enumerate(parameter for group in groups for parameter in group["params"]))
    kept = {n: _like(one, parameters[n]) if n in parameters else one for n, one in state["state"].items()}
    optimizer.load_state_dict({**state, "state": kept})
    for group, loaded in zip(groups, optimizer.param_groups, strict=True):
        group.update(loaded)
    optimizer.param_groups = groups


def _like(kept: Mapping[str, Any], parameter: Tensor) -> dict[str, Any]:
    """What is kept of a parameter; element by element, it is where that is."""
    return {
        name: sharding.like(value, parameter) if isinstance(value, Tensor) and value.shape == parameter.shape else value
        for name, value in kept.items()
    }


def of_random() -> State:
    """The state of torch's, NumPy's and Python's own random numbers."""
    numpy = np.random.get_state(legacy=False)  # the global one, which a user's code may use
    assert isinstance(numpy, dict)
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": {
            "keys": torch.tensor(numpy["state"]["key"].astype(np.int64)),
            "pos": int(numpy["state"]["pos"]),
            "has_gauss": int(numpy["has_gauss"]),
            "gauss": float(numpy["gauss"]),
        },
        "python": random.getstate(),
    }


def into_random(state: Mapping[str, Any]) -> None:
    """Go on with them from there."""
    torch.set_rng_state(state["torch"])
    if state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])
    numpy = state["numpy"]
    keys = numpy["keys"].numpy().astype(np.uint32)
    np.random.set_state(("MT19937", keys, numpy["pos"], numpy["has_gauss"], numpy["gauss"]))
    random.setstate(state["python"])


def whole(facts: State, module: State, steps_done: int, parts: Mapping[str, Stateful]) -> State:
    """A training between two steps, all but its optimizer; facts: what it is known by; module: see `of_module`."""
    return {
        "facts": facts,
        "when": time.time(),
        "step": steps_done,
        "module": module,
        "parts": {name: part.state_dict() for name, part in parts.items()},
        "random": of_random(),
    }
