"""How hard each term pulls at the network, and whether the soft ones pull where the labels do."""

import time
from collections.abc import Callable
from typing import cast

import pytorch_lightning as pl
import torch
from torch import Tensor

from kd_lab import names
from kd_lab.seeds import mixed
from kd_lab.training.aside import answers, terms_of, undisturbed
from kd_lab.training.callbacks.cost import Cost
from kd_lab.training.callbacks.recorder import Sink
from kd_lab.training.distiller import Distiller
from kd_lab.training.module import StepCallback, TrainingModule
from kd_lab.training.objective import HARD, Objective
from kd_lab.types import Batch, Step


class Gradients(StepCallback):
    """Once in `every` steps, of the batch just seen: `gradient_norm_TERM`, `gradient_cosine_hard_TERM`, `gradients_s`.

    Norms are of the term before its weight, over all parameters of the network, L2; the hard-label cross-entropy is
    among them also where its weight is 0. A cosine is left out of a batch without labels. Costs a forward pass and a
    backward pass for each term, which `gradients_s` tells and which are no part of the training's own time. Nothing is
    moved. Under DDP it is the first process's piece of the batch.

    Args:
        sink: where they go.
        every: in optimizer steps.
        rename: maps a key to the one it is kept under.
        cost: its clock stands still meanwhile.
    """

    def __init__(self, sink: Sink, every: int, rename: Callable[[str], str], cost: Cost) -> None:
        self.sink, self.every, self.rename, self.cost = sink, every, rename, cost

    def after_batch(self, trainer: pl.Trainer, module: TrainingModule, batch: Batch) -> None:
        """Look, if it is time to."""
        if not batch.last or module.steps_done % self.every or not trainer.is_global_zero:
            return
        step = module.step
        if not isinstance(step, Distiller) or unseen(step, step.objective) is not None:
            return
        began = time.perf_counter()
        with self.cost.paused(module.device):
            found = looked(step, batch, module.steps_done)
        values = {**found, "gradients_s": time.perf_counter() - began}
        self.sink.log(module.steps_done, {self.rename(names.train_reading(n)): v for n, v in values.items()})


def looked(step: Distiller, batch: Batch, seed: int) -> dict[str, float]:
    """Norms and cosines of the terms of one batch, by name."""
    weights = {name: one for name, one in step.network.named_parameters() if one.requires_grad}
    with undisturbed(mixed(seed), batch), torch.enable_grad():
        taught = None if step.teacher is None else step.teacher(batch)
        ones = dict.fromkeys([HARD, *step.objective.terms], 1.0)
        terms = terms_of(step, answers(step, weights, batch), taught, batch, ones).terms
        pulls = {name: _flat(term, list(weights.values())) for name, term in terms.items()}
    found = {f"gradient_norm_{name}": float(pull.norm()) for name, pull in pulls.items()}
    for name, pull in pulls.items():
        sizes = pulls[HARD].norm() * pull.norm()
        if name != HARD and bool(sizes > 0):
            found[f"gradient_cosine_hard_{name}"] = float(pulls[HARD] @ pull / sizes)
    return found


def _flat(term: Tensor, parameters: list[Tensor]) -> Tensor:
    """Its gradient, all parameters in a row."""
    if not term.requires_grad:
        return torch.cat([torch.zeros_like(one).flatten() for one in parameters])
    found = torch.autograd.grad(term, parameters, retain_graph=True, allow_unused=True, materialize_grads=True)
    return torch.cat([one.flatten() for one in found])


def unseen(step: Step | None, objective: Objective) -> str | None:
    """Why the terms of a step cannot be looked at; None where they can."""
    if step is not None and cast("object", getattr(step, "teacher", None)) is None:
        return "no single teacher answers the student"
    for name, term in objective.terms.items():
        if term.loss.has_memory:
            return f"{name} remembers what it saw, and would remember the look"
    return None
