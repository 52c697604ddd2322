"""Finds a trained network in the store or trains it there: once, however many jobs ask at the same time."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

from kd_lab import names
from kd_lab.errors import TrainingFailedError, UserError
from kd_lab.job.console import Reporter
from kd_lab.job.describe import network_name, role_params, run_name, sweep_name
from kd_lab.job.inputs import inputs
from kd_lab.job.measured import Measured, known, measure, remember, runtime
from kd_lab.job.order import Context, Obtained, Order
from kd_lab.job.plan import Built, Plan
from kd_lab.job.published import tags
from kd_lab.job.resume import states_of
from kd_lab.job.saved import save_answers, save_network
from kd_lab.job.specs import NetworkSpec
from kd_lab.job.threads import other_threads, threads
from kd_lab.job.train import train
from kd_lab.job.tuned import of_role
from kd_lab.models.common.weights import load_weights, weights_sha256
from kd_lab.outside.scratch import scratch
from kd_lab.store.client import StoreAwayError
from kd_lab.store.provenance import provenance
from kd_lab.store.queries import UNMEASURED
from kd_lab.store.run import Run
from kd_lab.store.store import Store
from kd_lab.store.stored_run import FINISHED, StoredRun
from kd_lab.training.callbacks.recorder import Sink
from kd_lab.training.states import States
from kd_lab.types import Measurement, NetworkResult

VERIFY_TOLERANCE = 0.005
"""How far the accuracy of a network found again may lie from the recorded one (another device rounds differently)."""

OF_CHOICE = (names.VAL_BEST_ACCURACY_TOP1, names.VAL_BEST_EPOCH)
"""What a best epoch was chosen by, and which it is."""


@dataclass(frozen=True)
class Keeper:
    """The store, seen by one job."""

    plan: Plan
    store: Store
    config: Mapping[str, Any]
    context: Context
    reporter: Reporter

    @property
    def built(self) -> Built:
        """The job's networks."""
        assert self.plan.built is not None
        return self.plan.built

    def obtain(self, order: Order) -> Obtained:
        """Find the ordered network again, verified, or train it; a second job that needs it waits for the first."""
        if not order.reuse and order.spec.lesson is not None:
            return self._train(order)  # nobody else asks for a student
        waiting = f"{order.role}: another job is training the same one, waiting"
        key = self.plan.specs.world.key(order.spec)
        with self.store.lock(key, on_wait=lambda: self.reporter.note(waiting)):
            found = self.store.find(key) if order.reuse else None
            obtained = self._reuse(order, found) if found is not None else None
            if obtained is not None:
                return obtained
            if found is not None:  # what could not be used is in the network now
                order.network.load_state_dict(self.plan.network(order.spec).state_dict())
            return self._train(order, key)

    def _reuse(self, order: Order, found: StoredRun) -> Obtained | None:
        """The stored network if it is what its record says, else None."""
        network = order.network
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
            return self._finished(order, found, sha256)
        if not order.measured:
            result = NetworkResult(order.role, found.run_id, found.metrics, sha256, reused=True)
            return Obtained(network, result, torch.empty(0))
        measured = self._measure(order, found.run_id, sha256)
        now = measured.measurement[names.TEST_ACCURACY_TOP1]
        if abs(now - found.metrics.get(names.TEST_ACCURACY_TOP1, -1.0)) > VERIFY_TOLERANCE:
            self._refuse(order, found)
            return None
        self.reporter.note(f"{order.role}: run {found.run_id[:8]} found again and verified, accuracy {now:.2%}")
        for told in other_threads(self.plan, order.spec, network, found.tags.get(names.TAG_TRAIN_THREADS)):
            self.reporter.note(f"{order.role}: {told}")
        measurement = _costs(found) | measured.measurement
        result = NetworkResult(order.role, found.run_id, measurement, sha256, reused=True)
        return Obtained(network, result, measured.logits)

    def _refuse(self, order: Order, found: StoredRun) -> None:
        self.reporter.note(f"{order.role}: run {found.run_id[:8]} is not what its record says; training anew")

    def _finished(self, order: Order, found: StoredRun, sha256: str) -> Obtained:
        """A network that was trained and saved by a job that ended before its run was whole."""
        with self.store.reopen(found) as run:
            obtained = self.measured(run, order, _costs(found), sha256)
        measured = found.tags.get(names.TAG_UNMEASURED) != UNMEASURED
        how = "whose end could not be kept" if measured else "which ended before it was measured"
        self.reporter.note(f"{order.role}: run {found.run_id[:8]}, {how}, is finished now")
        return replace(obtained, result=replace(obtained.result, reused=True))

    def _train(self, order: Order, key: str | None = None) -> Obtained:
        states = states_of(self.plan, order.spec, self.store, self.reporter)
        with self.open(order, key) as run, scratch() as folder, states as kept:
            best = Path(folder, Path(names.ARTIFACT_WEIGHTS_BEST).name)
            trained = self.trained(order, run, best if self.plan.settings.checkpoint.keep == "both" else None, kept)
            sha256 = self.save(run, order, trained)
            order.saved()
            if kept is not None:
                kept.remove()
            obtained = self.measured(run, order, trained, sha256)
            if best.is_file():
                obtained = self._with_best(run, order, obtained, best)
            run.flush()
            run.log_measurement({names.COST_TRACKING_S: run.seconds})
        return obtained

    def trained(self, order: Order, run: Sink, best: Path | None = None, states: States | None = None) -> Measurement:
        """Train the ordered network in place, its curves for this run, or go on from `states`; what it cost.

        best: where the best epoch's weights go.
        """
        cost = train(
            self.plan,
            order.spec,
            order.network,
            store=self.store,
            run=run,
            tell=self.reporter.note,
            lines=self.reporter.lines,
            report=order.report,
            best=best,
            states=states,
        )
        if names.TRAIN_STOPPED_EPOCH in cost:
            self.reporter.note(
                f"{order.role}: stopped after epoch {cost[names.TRAIN_STOPPED_EPOCH]:,.0f}, "
                f"{cost[names.COST_TRAIN_STEPS]:,.0f} steps: no better on the validation part for "
                f"{order.spec.recipe.early_stopping} epochs"
            )
        return cost

    def _with_best(self, run: Run, order: Order, obtained: Obtained, weights: Path) -> Obtained:
        """Keep the best epoch's weights beside the last ones, and what they answer under names of their own."""
        run.log_file(weights, names.ARTIFACT_WEIGHTS_BEST)
        network = copy.deepcopy(order.network)
        load_weights(network, weights)
        precision, taught = order.spec.recipe.precision, order.teacher_logits
        label = f"{order.role} of its best epoch"
        bench = self.plan.bench
        answers = measure(bench, network, precision=precision, teacher_logits=taught, label=label, costs=False)
        found = {names.of_best(key): value for key, value in answers.measurement.items()}
        measurement = obtained.result.measurement
        run.log_measurement(found | {key: measurement[key] for key in OF_CHOICE})
        return replace(obtained, result=replace(obtained.result, measurement=measurement | found))

    def save(self, run: Run, order: Order, trained: Measurement) -> str:
        """Keep a trained network, before anything is measured; the hash of its weights."""
        return save_network(run, self.plan.data, order.spec.node, order.network, trained)

    def peers(self) -> list[tuple[NetworkSpec, nn.Module]]:
        """Those that are trained with the student."""
        return list(zip(self.plan.specs.peers, self.built.peers, strict=True))

    def measured(self, run: Run, order: Order, trained: Measurement, sha256: str | None = None) -> Obtained:
        """A saved network, measured, with all that its run keeps of that."""
        sha256 = sha256 or weights_sha256(order.network)
        run.flush()  # nothing is written while latency is measured
        measured = self._measure(order, run.run_id, sha256)
        measurement = trained | measured.measurement
        extra = order.extra(measurement, measured.logits)
        result = NetworkResult(order.role, run.run_id, measurement | extra, sha256, reused=False)
        figures = self.plan.settings.measure.figures
        drawn = self.context.sweep is None if figures is None else figures
        save_answers(run, self.plan.data, order.role, order.spec.node, measured, drawn=drawn)
        order.done(run, result)
        run.log_measurement(measured.measurement | extra)
        run.set_tags({names.TAG_UNMEASURED: measured.reasons()})
        return Obtained(order.network, result, measured.logits)

    def open(self, order: Order, key: str | None = None) -> Run:
        """Begin the run of an order; key: what its network is found again by, if it is."""
        spec = order.spec
        parent = None
        if self.context.sweep is not None:
            parent = self.store.sweep_parent(self.context.sweep, sweep_name(self.context.sweep_title))
        config = {**self.config, "loss": self.plan.settings.loss.in_effect()}
        facts = {names.TAG_JOB: self.context.label, names.TAG_SWEEP: self.context.sweep, names.TAG_KEY: key}
        facts[names.TAG_TUNED] = of_role(self.plan.settings.tuned, order.role)
        if order.role in (names.STUDENT, names.TRIAL):
            facts |= tags(self.plan.settings)
        own = {tag: value for tag, value in facts.items() if value}
        if self.context.tried is not None and order.role == names.STUDENT:
            own[names.TAG_CONFIGURATIONS_TRIED] = str(self.context.tried)
        own[names.TAG_CODE] = self.plan.specs.world.code(spec)
        if spec.source:
            own[names.TAG_WEIGHTS_FROM] = spec.source
        if spec.is_trained:
            own[names.TAG_TRAIN_THREADS] = str(threads(self.plan, spec, order.network))
        own[names.TAG_JOBS_AT_ONCE] = str(self.context.jobs_at_once)
        run = self.store.start_run(
            role=order.role,
            name=run_name(order.role, self.config, spec.node, self.context.label, spec.seed),
            params={
                **role_params(order.role, config, spec.node, spec.recipe.model_dump(), spec.seed),
                **order.params,
            },
            tags={**provenance(), **runtime(self.plan.bench), **own, **order.tags},
            config_yaml=yaml.safe_dump(dict(self.config), sort_keys=False),
            parent=parent,
            inputs=inputs(self.plan, order.role, spec.part),
        )
        self.reporter.opened(run.run_id)
        return run

    def _measure(self, order: Order, run_id: str, sha256: str) -> Measured:
        """Once in a process, however many jobs of a sweep find it again; say what could not be measured.

        Raises:
            TrainingFailedError: its answers could not: it can neither teach nor be compared.
        """
        precision, taught = order.spec.recipe.precision, order.teacher_logits
        bench, facts = self.plan.bench, (run_id, sha256, precision)
        measured = None if taught is not None else known(bench, facts)
        if measured is None:
            measured = measure(bench, order.network, precision=precision, teacher_logits=taught, label=order.role)
            if taught is None:  # nobody finds a student again, and its fidelity is to one teacher
                remember(bench, facts, measured)
        name, again = f"{order.role} {network_name(order.spec.node)}", f"kd-lab evaluate run={run_id}"
        if not measured.has_answers:
            raise TrainingFailedError(
                f"{name}: what it answers cannot be measured ({measured.reasons()}); its weights are kept in run "
                f"{run_id}, and `{again}` measures them again"
            )
        for what, why in measured.failed.items():
            self.reporter.warn(f"{name}: {what} could not be measured ({why}); `{again}` tries again")
        return measured


def _costs(found: StoredRun) -> Measurement:
    """What the training of a stored network cost, and what was measured of its best epoch."""
    kept = ("cost/train_", "test/best_", "val/best_", names.TRAIN_STOPPED_EPOCH)
    return {key: value for key, value in found.metrics.items() if key.startswith(kept)}
