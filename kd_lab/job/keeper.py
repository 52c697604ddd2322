"""Finds a trained network in the store or trains it there: once, however many jobs ask at the same time."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import yaml
from torch import Tensor, nn

from kd_lab import names
from kd_lab.errors import TrainingFailedError, UserError
from kd_lab.job.console import Reporter
from kd_lab.job.describe import network_name, role_params, run_name, sweep_name
from kd_lab.job.inputs import inputs
from kd_lab.job.keys import job_code
from kd_lab.job.measured import Measured, measure, runtime
from kd_lab.job.plan import Plan
from kd_lab.job.saved import save_answers, save_network
from kd_lab.job.settings import RecipeSettings
from kd_lab.job.strict import Node
from kd_lab.models.common.weights import load_weights, weights_sha256
from kd_lab.store.client import StoreAwayError
from kd_lab.store.provenance import provenance
from kd_lab.store.run import Run
from kd_lab.store.store import Store
from kd_lab.store.stored_run import FINISHED, StoredRun
from kd_lab.types import Measurement, NetworkResult

VERIFY_TOLERANCE = 0.005
"""How far the accuracy of a network found again may lie from the recorded one (another device rounds differently)."""


@dataclass(frozen=True)
class Context:
    """What a job knows of the command it belongs to: its sweep (id and title) and what is special about the job.

    jobs_at_once: how many jobs of the sweep share this machine; what is timed then is not what a job alone would take.
    tried: from how many configurations this one was chosen on the validation part, if it was.
    """

    sweep: str | None = None
    sweep_title: str = ""
    label: str = ""
    jobs_at_once: int = 1
    tried: int | None = None


@dataclass(frozen=True)
class Order:
    """A network that a job needs.

    train: trains the network it is given in place, hands curves to the run and returns what it cost.
    key: what the network is found again by; None where it is always trained. extra: what else follows from the
    measurement; done: called with the run, while it is open, and the result. measured: whether a network found again is
    measured; a trial, which reads no test part, trusts the hash of its weights. part: the part of the data that it is
    trained on, `train` or `transfer`; None where it comes trained.
    """

    role: str
    node: Node
    recipe: RecipeSettings
    train: Callable[[nn.Module, Run], Measurement]
    seed: int
    key: str | None = None
    reuse: bool = True
    measured: bool = True
    part: str | None = None
    teacher_logits: Tensor | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, object] = field(default_factory=dict)
    extra: Callable[[Measurement], Measurement] = lambda _: {}
    done: Callable[[Run, NetworkResult], None] = lambda _run, _result: None


@dataclass(frozen=True)
class Kept:
    """A network in hand: trained, measured, and kept in the store."""

    network: nn.Module
    result: NetworkResult
    logits: Tensor


@dataclass(frozen=True)
class Keeper:
    """The store, seen by one job."""

    plan: Plan
    store: Store
    config: Mapping[str, Any]
    context: Context
    reporter: Reporter

    def obtain(self, order: Order) -> Kept:
        """Find the ordered network again, verified, or train it; a second job that needs it waits for the first."""
        if order.key is None:
            return self._train(order)
        waiting = f"{order.role}: another job is training the same one, waiting"
        with self.store.lock(order.key, on_wait=lambda: self.reporter.note(waiting)):
            found = self.store.find(order.key) if order.reuse else None
            kept = self._reuse(order, found) if found is not None else None
            return kept if kept is not None else self._train(order)

    def _reuse(self, order: Order, found: StoredRun) -> Kept | None:
        """The stored network if it is what its record says, else None."""
        network = self.plan.network(order.role, order.node, order.seed)
        try:
            with found.opened(names.ARTIFACT_WEIGHTS) as path:
                load_weights(network, path)
        except (UserError, StoreAwayError) as error:
            self.reporter.note(f"{order.role}: run {found.run_id[:8]} cannot be used ({error}); training anew")
            return None
        sha256 = weights_sha256(network)
        if sha256 != found.tags.get(names.TAG_WEIGHTS_SHA256):
            self._refuse(order, found)
            return None
        if found.status != FINISHED:
            return self._finished(order, found, network, sha256)
        if not order.measured:
            result = NetworkResult(order.role, found.run_id, found.metrics, sha256, reused=True)
            return Kept(network, result, torch.empty(0))
        measured = self._measure(order, network, found.run_id)
        now = measured.measurement[names.TEST_ACCURACY_TOP1]
        if abs(now - found.metrics.get(names.TEST_ACCURACY_TOP1, -1.0)) > VERIFY_TOLERANCE:
            self._refuse(order, found)
            return None
        self.reporter.note(f"{order.role}: run {found.run_id[:8]} found again and verified, accuracy {now:.2%}")
        measurement = _costs(found) | measured.measurement
        return Kept(network, NetworkResult(order.role, found.run_id, measurement, sha256, reused=True), measured.logits)

    def _refuse(self, order: Order, found: StoredRun) -> None:
        self.reporter.note(f"{order.role}: run {found.run_id[:8]} is not what its record says; training anew")

    def _finished(self, order: Order, found: StoredRun, network: nn.Module, sha256: str) -> Kept:
        """A network that was trained and saved by a job that ended before it was measured."""
        with self.store.reopen(found) as run:
            kept = self._measured(run, order, network, sha256, _costs(found))
        self.reporter.note(f"{order.role}: run {found.run_id[:8]}, which ended before it was measured, is finished now")
        return replace(kept, result=replace(kept.result, reused=True))

    def _train(self, order: Order) -> Kept:
        network = self.plan.network(order.role, order.node, order.seed)
        with self.open(order) as run:
            trained = order.train(network, run)
            sha256 = save_network(run, self.plan.data, order.node, network, trained)
            kept = self._measured(run, order, network, sha256, trained)
            run.flush()
            run.log_measurement({names.COST_TRACKING_S: run.seconds})
        return kept

    def _measured(self, run: Run, order: Order, network: nn.Module, sha256: str, trained: Measurement) -> Kept:
        """A saved network, measured, with all that its run keeps of that."""
        run.flush()  # nothing is written while latency is measured
        measured = self._measure(order, network, run.run_id)
        measurement = trained | measured.measurement
        extra = order.extra(measurement)
        result = NetworkResult(order.role, run.run_id, measurement | extra, sha256, reused=False)
        save_answers(run, self.plan.data, order.role, order.node, measured)
        order.done(run, result)
        run.log_measurement(measured.measurement | extra)
        run.set_tags({names.TAG_UNMEASURED: measured.reasons()})
        return Kept(network, result, measured.logits)

    def open(self, order: Order) -> Run:
        """Begin the run of an order."""
        parent = None
        if self.context.sweep is not None:
            parent = self.store.sweep_parent(self.context.sweep, sweep_name(self.context.sweep_title))
        config = {**self.config, "loss": self.plan.settings.loss.in_effect()}
        facts = {names.TAG_JOB: self.context.label, names.TAG_SWEEP: self.context.sweep, names.TAG_KEY: order.key}
        own = {tag: value for tag, value in facts.items() if value}
        if self.context.tried is not None and order.role == names.STUDENT:
            own[names.TAG_CONFIGURATIONS_TRIED] = str(self.context.tried)
        plan, trained = self.plan, order.role in (names.STUDENT, names.TRIAL)
        own[names.TAG_CODE] = job_code(plan) if trained else plan.code(order.node, order.recipe)
        own[names.TAG_JOBS_AT_ONCE] = str(self.context.jobs_at_once)
        run = self.store.start_run(
            role=order.role,
            name=run_name(order.role, self.config, order.node, self.context.label, order.seed),
            params={
                **role_params(order.role, config, order.node, order.recipe.model_dump(), order.seed),
                **order.params,
            },
            tags={**provenance(), **runtime(self.plan.bench), **own, **order.tags},
            config_yaml=yaml.safe_dump(dict(self.config), sort_keys=False),
            parent=parent,
            inputs=inputs(self.plan, order.role, order.part),
        )
        self.reporter.opened(run.run_id)
        return run

    def _measure(self, order: Order, network: nn.Module, run_id: str) -> Measured:
        """Say what could not be measured.

        Raises:
            TrainingFailedError: its answers could not: it can neither teach nor be compared.
        """
        precision, taught = order.recipe.precision, order.teacher_logits
        measured = measure(self.plan.bench, network, precision=precision, teacher_logits=taught, label=order.role)
        name, again = f"{order.role} {network_name(order.node)}", f"kd-lab evaluate run={run_id}"
        if not measured.has_answers:
            raise TrainingFailedError(
                f"{name}: what it answers cannot be measured ({measured.reasons()}); its weights are kept in run "
                f"{run_id}, and `{again}` measures them again"
            )
        for what, why in measured.failed.items():
            self.reporter.warn(f"{name}: {what} could not be measured ({why}); `{again}` tries again")
        return measured


def _costs(found: StoredRun) -> Measurement:
    """What the training of a stored network cost."""
    return {key: value for key, value in found.metrics.items() if key.startswith("cost/train_")}
