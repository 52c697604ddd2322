"""A bank of what was made, filled in rounds, each an optimisation of its own: the base of DeepInversion and CMI.

A round begins and ends within one step of the student. So the bank, and what a method carries from round to round, is
all of the training's state; what is moved within a round is drawn anew from (seed, step).

Legend: N samples of a round, B batch, K classes.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from kd_lab.inputs import call, eval_mode
from kd_lab.seeds import integers, mixed, of_samples
from kd_lab.strategies.common.free.step import SHOWN, FromMade, Making
from kd_lab.strategies.common.strategy import Training
from kd_lab.types import UNLABELLED, Batch, LossTerms, Outputs


class Bank:
    """The samples that were made last, the oldest first: columns [N, ...], such as inputs and answers, row by row.

    Args:
        capacity: where there are more, the oldest are forgotten.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.columns: tuple[Tensor, ...] = ()

    def __len__(self) -> int:
        """How many there are."""
        return len(self.columns[0]) if self.columns else 0

    def add(self, *columns: Tensor) -> None:
        """The newest, as many columns as there are."""
        new = [one[-self.capacity :].detach() for one in columns]
        if self.columns:
            new = [torch.cat(both)[-self.capacity :] for both in zip(self.columns, new, strict=True)]
        self.columns = tuple(one.clone() for one in new)  # a slice would keep what is forgotten in memory

    def load(self, columns: tuple[Tensor, ...], device: torch.device) -> None:
        """Hold these instead, on this device."""
        self.columns = tuple(one.to(device) for one in columns)


class Proposal(NamedTuple):
    """What a round has at one of its steps: inputs [N, ...], what is kept beside them [N, ...], what it minimises."""

    inputs: Tensor
    beside: tuple[Tensor, ...]
    parts: Mapping[str, Tensor]


class Round(NamedTuple):
    """What is moved in a round, and what it makes at each of its steps, from 0."""

    optimizers: tuple[torch.optim.Optimizer, ...]
    propose: Callable[[int], Proposal]


class FromBank(FromMade):
    """Every so many steps a round adds to the bank; the student sees samples of the bank, each as often as others.

    The teacher is asked once for what is kept: its answers do not change. In a round the student is in eval mode.

    Args:
        training: with one teacher.
        making: the settings.
        means: see `FromMade`.
    """

    def __init__(self, training: Training, making: Making, *, means: bool = False) -> None:
        super().__init__(training, making, means=means)
        self.bank = Bank(making.bank)
        self._accuracy = 0.0

    def begin(self, targets_N: Tensor) -> Round:
        """A round towards these classes."""
        raise NotImplementedError

    def attach(self, device: torch.device) -> None:
        """Teacher and bank come to this device."""
        super().attach(device)
        self.bank.load(self.bank.columns, device)

    def forward(self, batch: Batch) -> LossTerms:
        """The terms of the loss on samples of which none has a label; which ones follows from step and row."""
        first = self.next_part() == 0
        if self._step % self.making.every == 0 and first:
            self.make()
        seeds_B = of_samples(mixed(self.seed, self._step, 0), batch.index)
        rows_B = integers(seeds_B, 0, len(self.bank))
        inputs, logits = (column[rows_B] for column in self.bank.columns[:2])
        made = Batch(inputs, torch.full_like(batch.targets, UNLABELLED), batch.index, share=batch.share)
        terms: LossTerms = self.objective(Outputs(call(self.network, inputs)), Outputs(logits), made)
        return replace(terms, teacher_top=logits.max())

    def make(self) -> None:
        """A round; the best that it came by goes into the bank."""
        classes = torch.randint(self.num_classes, (self.making.samples,), generator=self.random(1))
        targets_N = classes.to(self.device)
        with eval_mode(self.network):
            best = self._best(self.begin(targets_N))
        with torch.no_grad():
            logits_NK = self.watched(best.inputs)[0]
        self.bank.add(best.inputs, logits_NK, *best.beside)
        self._losses = {name: float(part) for name, part in best.parts.items()}
        self._accuracy = float((logits_NK.argmax(dim=1) == targets_N).float().mean())

    def _best(self, moved: Round) -> Proposal:
        """Minimise; the proposal whose total was least."""
        trained = [one for optimizer in moved.optimizers for group in optimizer.param_groups for one in group["params"]]
        best, least = None, math.inf
        for number in range(self.making.inner_steps):
            proposal = moved.propose(number)
            total = torch.stack([weight * proposal.parts[name] for name, weight in self.making.weights.items()]).sum()
            for parameter, gradient in zip(trained, torch.autograd.grad(total, trained), strict=True):
                parameter.grad = gradient
            if best is None or float(total.detach()) < least:
                best, least = _kept(proposal), float(total.detach())
            for optimizer in moved.optimizers:
                optimizer.step()
        assert best is not None, "a round has a step"
        return best

    def readings(self) -> dict[str, float]:
        """Of the last round: the parts of what it minimised, before their weights; how many are of the class drawn."""
        parts = {f"inversion_{name}": value for name, value in self._losses.items()}
        return {**super().readings(), **parts, "inversion_accuracy": self._accuracy}

    def shown(self) -> Tensor:
        """The newest of the bank."""
        return self.bank.columns[0][-SHOWN:] if len(self.bank) else torch.empty(0)

    def get_extra_state(self) -> dict[str, Any]:
        """The bank, how many samples the teacher answered, and what is read of the last round."""
        return {
            "bank": self.bank.columns,
            "samples": self.watched.samples,
            "losses": self._losses,
            "accuracy": self._accuracy,
        }

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """What `get_extra_state` gave."""
        self.bank.load(tuple(state["bank"]), self.device)
        self.watched.samples = state["samples"]
        self._losses, self._accuracy = dict(state["losses"]), state["accuracy"]


def _kept(proposal: Proposal) -> Proposal:
    """Without its graph, and out of reach of what is moved in place."""
    inputs, beside, parts = proposal
    return Proposal(
        inputs.detach().clone(),
        tuple(one.detach().clone() for one in beside),
        {name: part.detach() for name, part in parts.items()},
    )
