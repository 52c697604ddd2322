"""How a network of a job comes by its weights: from a file, from hard labels, or from a lesson."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from torch import nn

from kd_lab import names
from kd_lab.job.answers import Around
from kd_lab.job.class_weights import class_weights
from kd_lab.job.console import busy
from kd_lab.job.distil import distil, together
from kd_lab.job.fit import Fit, fit
from kd_lab.job.plan import Plan
from kd_lab.job.sources import take_weights
from kd_lab.job.specs import NetworkSpec
from kd_lab.job.threads import threads
from kd_lab.models.common.fitted import Fitted
from kd_lab.models.ensemble import Ensemble
from kd_lab.store.store import Store
from kd_lab.training.callbacks.recorder import Sink
from kd_lab.training.callbacks.validation import EpochReport
from kd_lab.training.objective import Objective
from kd_lab.training.states import States
from kd_lab.types import Measurement


def train(
    plan: Plan,
    spec: NetworkSpec,
    network: nn.Module,
    *,
    store: Store,
    run: Sink,
    tell: Callable[[str], None],
    lines: bool,
    report: EpochReport | None = None,
    best: Path | None = None,
    states: States | None = None,
) -> Measurement:
    """Train the network in place, hand curves to the run, and say what it cost; nothing for one that comes trained.

    Args:
        plan: the job.
        spec: what is trained.
        network: built for it, with the weights of its seed.
        store: where weights of other runs lie.
        run: takes the curves.
        tell: hears what a user may want to know meanwhile.
        lines: whether progress is told in lines.
        report: told of the validation part after each epoch.
        best: the file that the weights of the best epoch go to, if they are wanted.
        states: where the state of the training is kept, and whence it goes on.
    """
    if not spec.is_trained:
        take_weights(network, store, spec.source)
        return {}
    if spec.lesson is not None:
        around = Around(store.location.answers, store.lock, tell, lines)
        return distil(plan, network, run, around, report=report, best=best, states=states)
    if isinstance(network, Fitted):
        return _fitted(plan, spec, network)
    if isinstance(network, Ensemble):
        return _members(plan, spec, network, run, states, lines=lines)
    label = "student alone" if spec.role == names.BASELINE else spec.role
    return fit(plan, replace(_alone(plan, spec, network, label), lines=lines, best=best, states=states), run)


def _fitted(plan: Plan, spec: NetworkSpec, network: Fitted) -> Measurement:
    """At once, on all labelled samples; what it cost."""
    rows = plan.data.train
    weights = class_weights(f"{spec.role}.recipe", spec.recipe.class_weights, plan.data, rows)
    inputs, targets = plan.data.rows(rows).batch(0, len(rows), "cpu"), plan.data.targets[rows]
    began = time.perf_counter()
    with busy(f"fitting the {spec.role}"):
        network.fit(inputs, targets, None if weights is None else weights[targets])
    took = time.perf_counter() - began
    return {names.COST_TRAIN_WALL_S: took, names.COST_TRAIN_SAMPLES_PER_S: len(rows) / took}


def _alone(plan: Plan, spec: NetworkSpec, network: nn.Module, label: str) -> Fit:
    """On hard labels."""
    rows = plan.data.train if spec.role == names.TEACHER else plan.seen.train
    recipe = plan.recipe(f"{spec.role}.recipe", spec.recipe, len(rows))
    weights = class_weights(f"{spec.role}.recipe", spec.recipe.class_weights, plan.data, rows)
    objective = Objective({}, 1.0, spec.recipe.label_smoothing, class_weights=weights)
    return Fit(label, network, objective, recipe, rows, spec.seed, threads=threads(plan, spec, network))


def _members(
    plan: Plan, spec: NetworkSpec, network: Ensemble, run: Sink, states: States | None, *, lines: bool
) -> Measurement:
    """Each member of an ensemble by itself, with a seed of its own."""
    costs = []
    for i, member in enumerate(network.members):
        node = {k: v for k, v in spec.node["member"].items() if k != "_partial_"}
        own = NetworkSpec(spec.role, node, spec.recipe, spec.seed + i)
        if not spec.source:
            member.load_state_dict(plan.network(own).state_dict())
        job = _alone(plan, own, member, f"teacher {i + 1}/{len(network.members)}")
        kept = None if states is None else states.of(f"member-{i}")
        costs.append(fit(plan, replace(job, rename=_Member(i), lines=lines, states=kept), run))
    return {key: value for key, value in together(costs).items() if key != names.TRAIN_STOPPED_EPOCH}


class _Member:
    """Renames a training metric to that of one member; a class because spawned processes pickle it."""

    def __init__(self, index: int) -> None:
        self.index = index

    def __call__(self, key: str) -> str:
        return names.of_member(self.index, key)
