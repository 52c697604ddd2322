"""What every step keeps: `check_step` raises an AssertionError for one that does not."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from kd_lab.types import Batch, Step


def check_step(make: Callable[[], Step], batch: Batch, *, total_steps: int = 4) -> None:
    """The parameters that it trains are its own, all get a gradient, and nothing moves by itself.

    Args:
        make: a step with the same weights at every call.
        batch: what it sees.
        total_steps: the length of the training, for what is scheduled.
    """
    step: Any = make()
    assert isinstance(step, nn.Module), "is no module"
    assert step.network in list(step.modules()), "the network that it trains is not part of it"
    step.attach(torch.device("cpu"))
    step.train()
    before = {name: p.detach().clone() for name, p in step.named_parameters()}
    step.at_step(0, total_steps)
    terms = step(batch)
    assert terms.total.ndim == 0, "the objective is no scalar"
    assert terms.terms, "no term by name"
    trained = {id(p) for p in step.parameters() if p.requires_grad}
    reached = {id(leaf) for leaf in leaves(terms.total)}
    assert reached <= trained, "trains something that is not among its parameters"
    assert trained <= reached, "a parameter of its gets no gradient"
    terms.total.backward()
    moved = [name for name, p in step.named_parameters() if not torch.equal(before[name], p)]
    assert not moved, "moves weights by itself"
    assert all(isinstance(value, float) for value in step.readings().values()), "a reading is no number"
    buffers = dict(step.named_buffers())
    assert {*step.own_buffers()} <= buffers.keys(), "names a buffer that is not there"
    step.release()
    fresh: Any = make()
    fresh.load_state_dict(step.state_dict())


def leaves(total: Tensor) -> list[Tensor]:
    """The parameters that a value follows from, by its graph."""
    found: list[Tensor] = []
    waiting, seen = [total.grad_fn], set()
    while waiting:
        node: Any = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            found.append(node.variable)
        waiting += [inner for inner, _ in node.next_functions]
    return found
