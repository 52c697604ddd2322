"""A training on the toy data for the steps of strategies, driven by hand: what their tests share."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import nn

from kd_lab.feeds.memory import MemoryFeed
from kd_lab.insight.taps import Tap
from kd_lab.strategies.common.strategy import Strategy, Training
from kd_lab.teachers.frozen import FrozenTeacher
from kd_lab.training.objective import Objective, Term
from kd_lab.training.state import into_module, into_optimizer, of_module
from kd_lab.types import Batch, Data, LossTerms
from tests.contracts.steps import check_step
from tests.training.toys import Plain, kd, toy_data

STEPS, BATCH = 12, 8


def feed(data: Data, rows: torch.Tensor, steps: int = STEPS) -> MemoryFeed:
    return MemoryFeed(data, rows, batch_size=min(BATCH, len(rows)), total_steps=steps, seed=3)


def training(
    objective: Objective | None = None,
    *,
    data: Data | None = None,
    network: nn.Module | None = None,
    teacher: nn.Module | None = None,
    taps: tuple[Tap, ...] = (),
    steps: int = STEPS,
    steps_per_epoch: int = 3,
) -> Training:
    """Of a plain network by another one, with a validation part."""
    data = data or toy_data(24, 6, 12)
    taught = teacher or Plain(1)
    return Training(
        network or Plain(0),
        objective or kd(),
        (FrozenTeacher(taught),),
        (taught,),
        taps,
        (),
        data,
        feed(data, data.validation, steps) if len(data.validation) else None,
        steps,
        7,
        steps_per_epoch=steps_per_epoch,
    )


def batches(data: Data | None = None, steps: int = STEPS) -> Iterator[Batch]:
    data = data or toy_data(24, 6, 12)
    own = feed(data, data.transfer, steps)
    for _ in range(own.epochs):
        yield from own


def trained(
    step: Any, seen: list[Batch], *, rate: float = 0.1, start: int = 0, optimizer: Any = None
) -> list[LossTerms]:
    """Take the steps from `start` on, by SGD; the terms of each."""
    step.attach(torch.device("cpu"))
    step.train()
    optimizer = optimizer or torch.optim.SGD(step.parameters(), rate, momentum=0.9)
    found = []
    for number, batch in enumerate(seen[start:], start=start):
        step.at_step(number, len(seen))
        terms = step(batch)
        optimizer.zero_grad()
        terms.total.backward()
        optimizer.step()
        found.append(terms)
    step.release()
    return found


def check_strategy_step(strategy: Strategy, make: Callable[[], Training] = training) -> None:
    """It keeps the contract of a step, and a training that is interrupted ends as one that is not."""
    seen = list(batches(make().data))
    check_step(lambda: strategy.step(make()), seen[0])
    whole: Any = strategy.step(make())
    torch.manual_seed(0)
    trained(whole, seen)
    first: Any = strategy.step(make())
    torch.manual_seed(0)
    optimizer = torch.optim.SGD(first.parameters(), 0.1, momentum=0.9)
    trained(first, seen[:5], optimizer=optimizer)
    random = torch.get_rng_state()
    again: Any = strategy.step(make())
    into_module(again, of_module(first))
    other = torch.optim.SGD(again.parameters(), 0.1, momentum=0.9)
    into_optimizer(other, optimizer.state_dict())
    torch.set_rng_state(random)
    trained(again, seen, start=5, optimizer=other)
    ends = [step.network.state_dict() for step in (whole, again)]
    assert all(torch.equal(ends[0][name], value) for name, value in ends[1].items()), "resumed is not uninterrupted"
    assert whole.readings() == again.readings()


def objective(terms: Mapping[str, Any], hard_weight: float = 0.0) -> Objective:
    """Of losses by name, each of weight 1, or of terms."""
    return Objective({name: one if isinstance(one, Term) else Term(one) for name, one in terms.items()}, hard_weight)
