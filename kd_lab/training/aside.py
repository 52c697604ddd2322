"""Asking a training once more about a batch, with its own weights or others, so that nothing of it is moved."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.func import functional_call

from kd_lab.inputs import Inputs
from kd_lab.training.distiller import Distiller
from kd_lab.types import Batch, LossTerms, Outputs


def answers(step: Distiller, weights: Mapping[str, Tensor], batch: Batch) -> Outputs:
    """What the network of a step says of a batch with other parameters; nothing of it is moved."""
    beside = {name: buffer.clone() for name, buffer in step.network.named_buffers()}

    def said(inputs: Inputs) -> Tensor:
        given, named = ((inputs,), {}) if isinstance(inputs, Tensor) else ((), dict(inputs))
        logits: Tensor = functional_call(step.network, {**weights, **beside}, given, named)
        return logits

    logits = said(batch.inputs)
    features = step.taps.take(batch.inputs)
    return Outputs(logits, features, tuple(map(said, batch.views)))


@contextmanager
def undisturbed(seed: int, batch: Batch) -> Iterator[None]:
    """What is drawn at random inside, such as by dropout, follows from the seed, and nothing outside changes by it."""
    with torch.random.fork_rng([batch.targets.device] if batch.targets.is_cuda else []):
        torch.manual_seed(seed >> 1)
        yield


def terms_of(
    step: Distiller, own: Outputs, taught: Outputs | None, batch: Batch, weights: Mapping[str, float | Tensor]
) -> LossTerms:
    """The objective of a step with these weights of its terms; buffers of losses stay as they are."""
    beside = {name: buffer.clone() for name, buffer in step.objective.named_buffers()}
    terms: LossTerms = functional_call(step.objective, beside, (own, taught, batch, weights))
    return terms
