"""The networks of a strategy: links, obtained before the student; peers, which are trained with it and kept."""

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TypeVar

from kd_lab import names
from kd_lab.errors import TrainingFailedError
from kd_lab.job.console import Reporter
from kd_lab.job.keeper import Keeper
from kd_lab.job.order import Obtained, Order
from kd_lab.job.settings import Settings
from kd_lab.store.run import Run
from kd_lab.types import Measurement, NetworkResult

MaybeObtained = TypeVar("MaybeObtained", bound=Obtained | None)


def told(reporter: Reporter, phase: str, obtain: Callable[[], MaybeObtained]) -> MaybeObtained:
    """Obtain a network of the job; its phase is told as it begins and as it ends."""
    reporter.doing(phase)
    obtained = obtain()
    if obtained is not None:
        reporter.done(phase, obtained.result)
    return obtained


def obtain_links(keeper: Keeper, *, measured: bool = True) -> list[Obtained]:
    """What the strategy wants before the student, in its order, each found or trained in a run of its own.

    measured: whether one that was found is measured again.
    """
    found: list[Obtained] = []
    for number, plan in enumerate(keeper.built.links, start=1):
        assert plan.built is not None
        spec = replace(plan.specs.student, node=plan.built.student_node)
        own = replace(keeper, plan=plan, config=plan.in_effect(keeper.config))
        order = Order(spec, plan.student, reuse=reuses(keeper.plan.settings), measured=measured)
        found.append(told(keeper.reporter, f"{spec.role} {number}", functools.partial(own.obtain, order)))
    return found


def reuses(settings: Settings) -> bool:
    """Whether a stored link will do: as it is with the teacher, or without one with the baseline."""
    return settings.teacher.reuse if settings.teacher else settings.baseline is None or settings.baseline.reuse


@contextmanager
def with_peers(keeper: Keeper, order: Order) -> Iterator[tuple[Order, Callable[[Obtained], list[NetworkResult]]]]:
    """An order whose peers are saved as soon as its own network is, and what measures them once that is measured.

    What a peer answers may be no measurement: that costs its own run alone.
    """
    orders = [Order(spec, network, reuse=False) for spec, network in keeper.peers()]
    runs: list[Run] = []
    with ExitStack() as stack:

        def saved() -> None:
            for one in orders:
                runs.append(stack.enter_context(keeper.open(one)))
                keeper.save(runs[-1], one, {})

        def measured(student: Obtained) -> list[NetworkResult]:
            found = []
            for run, one in zip(runs, orders, strict=True):
                run.set_tags({names.TAG_STUDENT_RUN: student.result.run_id})
                try:
                    found.append(keeper.measured(run, one, {}).result)
                except TrainingFailedError as error:
                    run.finish("FAILED", reason=str(error))
                    keeper.reporter.warn(str(error))
            return found

        yield replace(order, saved=saved), measured


def chain_wall_s(measurements: Sequence[Measurement]) -> float:
    """Seconds that the trainings of these took together; what came trained took none here."""
    return sum(one.get(names.COST_TRAIN_WALL_S, 0.0) for one in measurements)
