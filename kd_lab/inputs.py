"""What a network is given: one tensor, or several with a name each. Nothing outside of here asks which it is."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

Inputs = Tensor | Mapping[str, Tensor]
"""A tensor [B, ...], or tensors by name (`input_ids`, `attention_mask`); the first dimension is the sample."""


IDS, MASK = "input_ids", "attention_mask"
"""Of texts: the numbers of their tokens [B, L], and 1 where there is one [B, L], 0 on the padding behind them."""


def call(network: nn.Module, inputs: Inputs) -> Any:
    """What the network says; tensors with names are given to it by these."""
    return network(inputs) if isinstance(inputs, Tensor) else network(**inputs)


@contextmanager
def eval_mode(module: nn.Module) -> Iterator[nn.Module]:
    """Puts every submodule in eval mode and gives each its own mode back, so a frozen BatchNorm stays frozen."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield module
    finally:
        for part, mode in modes:
            part.training = mode


def each(inputs: Inputs, change: Callable[[Tensor], Tensor]) -> Inputs:
    """The inputs with every tensor changed."""
    return change(inputs) if isinstance(inputs, Tensor) else {name: change(one) for name, one in inputs.items()}


def count(inputs: Inputs) -> int:
    """How many samples there are."""
    return len(inputs if isinstance(inputs, Tensor) else next(iter(inputs.values())))


def select(inputs: Inputs, rows: Tensor) -> Inputs:
    """The samples [R, ...] at these places [R], on their device."""
    return each(inputs, lambda one: one.index_select(0, rows))


def moved(inputs: Inputs, device: torch.device | str) -> Inputs:
    """The inputs on a device."""
    return each(inputs, lambda one: one.to(device))


def tensors(inputs: Inputs) -> tuple[Tensor, ...]:
    """The tensor, or each of those with names, in the order of these."""
    return (inputs,) if isinstance(inputs, Tensor) else tuple(inputs[name] for name in sorted(inputs))


def mask_of(inputs: Inputs) -> Tensor | None:
    """1 where a text has a token and 0 on the padding behind it, [B, L]; None where the inputs are no texts."""
    return None if isinstance(inputs, Tensor) else inputs.get(MASK)


def equal(one: Inputs, other: Inputs) -> bool:
    """Whether both hold the same numbers, by the same names."""
    if isinstance(one, Tensor) or isinstance(other, Tensor):
        return isinstance(one, Tensor) and isinstance(other, Tensor) and torch.equal(one, other)
    return one.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def facts(inputs: Inputs, of_one: Callable[[Tensor], Any]) -> Any:
    """A fact of the tensor, or of each by its name."""
    return of_one(inputs) if isinstance(inputs, Tensor) else {name: of_one(one) for name, one in inputs.items()}


def shapes(inputs: Inputs) -> Any:
    """The shape of one sample, a list, or one by each name."""
    return facts(inputs, lambda one: list(one.shape[1:]))


def dtypes(inputs: Inputs) -> Any:
    """`float32`, or one by each name."""
    return facts(inputs, lambda one: str(one.dtype).removeprefix("torch."))
