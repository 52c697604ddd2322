"""`kd-lab evaluate run=ID`: a finished run's network, rebuilt from what the run kept, and measured again here.

What the run lacks, because it ended before it was measured or something could not be measured there, is added to it.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import torch
from rich.table import Table
from torch import nn

from kd_lab import names
from kd_lab.errors import UserError
from kd_lab.job.describe import network_name
from kd_lab.job.devices import resolve
from kd_lab.job.fitting import dataset_of, loaded
from kd_lab.job.measured import NOTHING, Bench, Measured, measure
from kd_lab.job.pyfunc import Description, rebuilt
from kd_lab.job.report import ROWS
from kd_lab.job.saved import save_answers
from kd_lab.job.settings import MeasureSettings, TrainerSettings
from kd_lab.job.strict import parsed
from kd_lab.measures.predict import predict
from kd_lab.models.common.weights import weights_sha256
from kd_lab.outside.console import console
from kd_lab.outside.nodes import DATASET, from_store_dataset
from kd_lab.store.store import Store
from kd_lab.store.stored_run import StoredRun
from kd_lab.types import Data, Measurement


def evaluate(run_id: str, uri: str, trainer: Mapping[str, Any], *, best: bool = False) -> Measurement:
    """Measure and print beside what the run recorded; writes only what the run lacks, and of its best epoch nothing.

    best: the weights of its best epoch on the validation part, in the place of the last ones.

    Raises:
        UserError: No such run, it kept no network, or its network or dataset cannot be made here.
    """
    store = Store.existing(uri)
    stored = store.get(run_id)
    config = stored.config()
    devices = resolve(parsed("trainer", dict(trainer), TrainerSettings))
    bench = Bench(data_of(stored, config), devices, measuring(config))
    out = console()
    if bench.data.fingerprint != stored.tags.get(names.TAG_DATA_FINGERPRINT):
        out.print("The data is not what the run was measured on: its fingerprint differs.", style="yellow")
    network, description = rebuild(stored, names.ARTIFACT_WEIGHTS_BEST if best else names.ARTIFACT_WEIGHTS)
    if description.activation_ranges:  # it was taught in int8, so it is measured so, asked for or not
        bench = replace(bench, settings=bench.settings.model_copy(update={"int8": True}))
    if not best and weights_sha256(network) != stored.tags.get(names.TAG_WEIGHTS_SHA256):
        out.print("The weights are not what the run recorded: their sha256 differs.", style="yellow")
    teacher_logits = _teacher_logits(store, stored, bench)
    label = f"{stored.tags.get(names.TAG_ROLE, 'network')} {network_name(description.node)}"
    found = measure(bench, network, precision=precision_of(stored, config), teacher_logits=teacher_logits, label=label)
    whose = f", best epoch ({stored.metrics.get(names.VAL_BEST_EPOCH, 0):.0f})" if best else ""
    recorded = {key: stored.metrics.get(names.of_best(key) if best else key) for key in found.measurement}
    out.print(beside(recorded, found.measurement, f"{label}, run {stored.run_id}{whose}", devices.main.type))
    for what, why in found.failed.items():
        out.print(f"{label}: {what} could not be measured ({why})", style="yellow")
    if not best and stored.tags.get(names.TAG_UNMEASURED, NOTHING) != NOTHING:
        lacks = "The run lacks some of these numbers, and this store may only be read."
        writable = store.location.may_be_written()
        out.print(_complete(store, stored, bench, description, found) if writable else lacks)
    return found.measurement


def _complete(store: Store, stored: StoredRun, bench: Bench, description: Description, found: Measured) -> str:
    """Add to the run what it lacks; it ends FINISHED if nothing that counts is left."""
    missing = {key: value for key, value in found.measurement.items() if key not in stored.metrics}
    run = store.reopen(stored)
    try:
        if found.has_answers and names.TEST_ACCURACY_TOP1 not in stored.metrics:
            save_answers(run, bench.data, stored.tags.get(names.TAG_ROLE, ""), description.node, found)
        run.log_measurement(missing)
        run.set_tags({names.TAG_UNMEASURED: found.reasons()})
    finally:
        run.finish("FINISHED" if found.has_answers else stored.status)
    return f"The run lacked {len(missing)} of these numbers, and has them now."


def data_of(stored: StoredRun, config: Mapping[str, Any]) -> Data:
    """The dataset of a run.

    Raises:
        UserError: its config names none, or it cannot be loaded here.
    """
    key = f"run:{stored.run_id}: dataset"
    node = config.get("dataset")
    if not isinstance(node, dict):
        raise UserError(
            f"{key}: its {names.ARTIFACT_CONFIG} names none; expected a run of a network that kd-lab trained"
        )
    return loaded(key, dataset_of(key, from_store_dataset(node), allowed=DATASET))


def measuring(config: Mapping[str, Any]) -> MeasureSettings:
    """How the run was measured; of an older or newer config what is known here, the rest as it is today."""
    known = {"latency_warmup": 20, "latency_runs": 100, "throughput_batch": 256, "threads": None}
    said = config.get("measure")
    if isinstance(said, dict):
        known |= {key: value for key, value in said.items() if key in MeasureSettings.model_fields}
    return parsed("measure", known, MeasureSettings)


def precision_of(stored: StoredRun, config: Mapping[str, Any]) -> str:
    """The precision of the recipe that trained this network."""
    role = stored.tags.get(names.TAG_ROLE)
    whose = {names.TEACHER: ["teacher"], names.BASELINE: ["baseline", "student"]}.get(str(role), ["student"])
    for network in whose:
        with suppress(KeyError, TypeError):
            precision = config[network]["recipe"]["precision"]
            if precision is not None:
                return str(precision)
    return "32"


def rebuild(stored: StoredRun, artifact: str = names.ARTIFACT_WEIGHTS) -> tuple[nn.Module, Description]:
    """A run's network with its weights, and what is known of it; see `Description` for errors."""
    with stored.opened(names.ARTIFACT_NETWORK) as file, stored.opened(artifact) as weights:
        description = Description.of_file(file, f"run:{stored.run_id}: network")
        if artifact == names.ARTIFACT_WEIGHTS_BEST:
            description = replace(description, activation_ranges={})  # they are those of the last step
        return rebuilt(description, weights), description


def _teacher_logits(store: Store, stored: StoredRun, bench: Bench) -> torch.Tensor | None:
    """The teacher's answers on the test part, for the fidelity of a student; None for a run without a teacher."""
    teacher_id = stored.tags.get(names.TAG_TEACHER_RUN)
    if teacher_id is None or stored.tags.get(names.TAG_ROLE) == names.BASELINE:
        return None
    run = store.get(teacher_id)
    network, _ = rebuild(run)
    inputs, device = bench.data.rows(bench.data.test), bench.devices.main
    precision = precision_of(run, run.config())
    return predict(network, inputs, device=device, precision=precision, batch_size=bench.settings.predict_batch)


def beside(recorded: Mapping[str, float | None], found: Measurement, title: str, device: str) -> Table:
    """What was measured here beside what the run recorded."""
    table = Table(title=title, title_justify="left")
    for name in ("", "recorded", f"here ({device})"):
        table.add_column(name, justify="right" if name else "left")
    for label, key, form in ROWS:
        if key in found:
            before = recorded[key]
            table.add_row(label, "-" if before is None else form(before), form(found[key]))
    return table
