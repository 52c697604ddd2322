"""Which states of a network's trainings are this job's: found by the network's key, and by one job at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from kd_lab.job.console import Reporter
from kd_lab.job.plan import Plan
from kd_lab.job.specs import NetworkSpec
from kd_lab.store.lease import Lease
from kd_lab.store.store import Store
from kd_lab.training.states import States


@contextmanager
def states_of(plan: Plan, spec: NetworkSpec, store: Store, reporter: Reporter) -> Iterator[States | None]:
    """Where the states of this network are kept while it is trained; None where none are, and why is told."""
    every_s = plan.settings.checkpoint.every_s
    if every_s is None or not spec.is_trained:
        yield None
        return
    if (reason := why_none(plan, spec)) is not None:
        reporter.note(f"{spec.role}: keeps no state and begins anew if it is interrupted: {reason}")
        yield None
        return
    key = replace(plan.specs.world, processes=1, sync_batchnorm=False).key(spec)  # who had another number is told so
    lease = Lease.take(store.location, f"states-{key}")
    if lease is None:  # another job trains the same network at this moment, and the states are its
        yield None
        return
    try:
        yield States(store.location.checkpoints / key[:32], reporter.warn, every_s)
    finally:
        lease.release(done=True)


def why_none(plan: Plan, spec: NetworkSpec) -> str | None:
    """Why no state of this network can be kept; None where one can."""
    if spec.recipe.precision == "16-mixed":
        return f"{spec.role}.recipe.precision=16-mixed"
    return "nobody knows the state of callbacks of yours" if plan.settings.callbacks else None
