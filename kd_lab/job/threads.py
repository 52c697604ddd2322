"""How many torch threads a training takes: one where its steps are too small to be worth sharing out.

Threads wait for one another at every operation, without letting go of the core. Where another program has one of the
cores, all wait for that one: on 2 cores, one of them in use, steps of 0.15 to 306 million multiply-accumulates took 1.3
to 40 times as long with two threads as with one, and those of less than 50 million gained at most a quarter where
nothing else ran (AMD EPYC, torch 2.15, 2026-11-29).

Numbers depend on the threads, by rounding. So they are chosen by size, which is the same whenever and wherever a job is
run; a machine that is busy now is only told of.
"""

import time
from collections.abc import Sequence

import psutil
import torch
from torch import nn

from kd_lab import names
from kd_lab.inputs import shapes
from kd_lab.job.plan import Plan
from kd_lab.job.specs import NetworkSpec
from kd_lab.measures.cost import macs
from kd_lab.models.ensemble import Ensemble
from kd_lab.outside.text import listed

SMALL_STEP = 50_000_000
"""Multiply-accumulates of the forward pass of a batch."""
MARGIN = 0.5
"""Of a core: what a machine always does beside."""


def threads(plan: Plan, spec: NetworkSpec, network: nn.Module) -> int:
    """The torch threads of a network's training.

    Args:
        plan: the job.
        spec: what is trained.
        network: built for it.
    """
    own, told = torch.get_num_threads(), plan.settings.trainer.threads
    if plan.devices.count > 1:  # of each process
        return told or max(1, own // plan.devices.count)
    chosen = told is not None or plan.devices.accelerator != "cpu"
    if chosen or own == 1 or not spec.is_trained:
        return own
    asks = plan.built is not None and spec.lesson is not None and _asks_in_every_step(plan)
    asked = [one.built.teacher for one in plan.taught_by if one.built and one.built.teacher] if asks else []
    networks = [network.members[0] if isinstance(network, Ensemble) else network, *asked]
    return 1 if _step(plan, networks, spec.recipe.batch_size) < SMALL_STEP else own


def _asks_in_every_step(plan: Plan) -> bool:
    """Whether the teacher answers while the student is trained, and not before."""
    assert plan.built is not None
    settings = plan.settings
    off = settings.teacher is not None and settings.teacher.cache == "off"
    recipe = settings.student.recipe
    return plan.distils and (off or recipe.augment or recipe.mixes or bool(plan.built.bound.views))


def _step(plan: Plan, networks: Sequence[nn.Module], batch_size: int) -> float:
    """Multiply-accumulates of a batch; not counted where the weights alone, each used once, are too many."""
    least = batch_size * sum(p.numel() for network in networks for p in network.parameters())
    return least if least >= SMALL_STEP else batch_size * sum(_macs(plan, network) for network in networks)


def _macs(plan: Plan, network: nn.Module) -> float:
    """Of a sample, counted once for all networks of this build."""
    example = plan.data.example(1)
    build = repr(network), repr(shapes(example))
    if build not in _counted:
        try:
            _counted[build] = macs(network, example)[names.COST_MACS]
        except Exception:  # what cannot be counted can be trained all the same
            _counted[build] = float("inf")
    return _counted[build]


_counted: dict[tuple[str, str], float] = {}


def of_job(plan: Plan) -> dict[str, int]:
    """The torch threads of each training of a job, by what is trained."""
    assert plan.built is not None
    specs, built = plan.specs, plan.built
    trained = [("the teacher", specs.teacher, built.teacher), ("the student alone", specs.baseline, built.student)]
    return {
        called: threads(plan, spec, network)
        for called, spec, network in [*trained, ("the student", specs.student, built.student)]
        if spec is not None and spec.is_trained and network is not None
    }


def other_threads(plan: Plan, spec: NetworkSpec, network: nn.Module, recorded: str | None) -> list[str]:
    """That a network which is found again was trained with another number than this job would take, a sentence.

    It is found all the same. The number follows from the machine and from how many jobs of a sweep share it; were it in
    the key, each of them would have a teacher of its own, and jobs that are compared would not have the same one.
    """
    now = threads(plan, spec, network)
    if plan.devices.accelerator != "cpu" or not spec.is_trained or recorded in {None, str(now)}:
        return []
    return [f"was trained with {recorded} torch threads, and this job would take {now}: another rounding, no more"]


def described(plan: Plan) -> list[str]:
    """Whose threads are not torch's own number, and why, a sentence."""
    own = torch.get_num_threads()
    few = [called for called, count in of_job(plan).items() if count != own]
    if not few or plan.devices.count > 1:
        return []
    return [f"1 torch thread, not {own}, trains {listed(few)}: small steps (trainer.threads=N chooses)"]


class Others:
    """What other programs take of this machine, from now on."""

    def __init__(self) -> None:
        self._busy, self._own, self._began = _busy_s(), time.process_time(), time.monotonic()

    def cores(self) -> float:
        """How many cores they have kept busy since then."""
        busy, own = _busy_s() - self._busy, time.process_time() - self._own
        return (busy - own) / max(time.monotonic() - self._began, 1e-3)


def crowded(plan: Plan, others: Others) -> str | None:
    """That threads of this job would wait for other programs, and what helps; None where there is room for all."""
    settings, cores = plan.settings.trainer, psutil.cpu_count() or 1
    most = max(of_job(plan).values())
    free = cores + MARGIN - others.cores()
    if settings.threads is not None or plan.devices.accelerator != "cpu" or most == 1 or most <= free:
        return None
    return (
        f"other programs keep this machine busy, and {most} torch threads on {cores} cores would wait for them: "
        "trainer.threads=1 may be many times as fast"
    )


def _busy_s() -> float:
    """Seconds that all cores together have been busy."""
    times = psutil.cpu_times()._asdict()
    other_than_busy = ("idle", "iowait", "guest", "guest_nice")  # guests count as user and nice, too
    return float(sum(seconds for kind, seconds in times.items() if kind not in other_than_busy))
