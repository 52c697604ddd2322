"""`kd-lab evaluate run=ID`: a finished run's network, rebuilt from what the run kept, and measured again here."""

from collections.abc import Mapping
from typing import Any

import torch
from rich.table import Table

from kd_lab import names
from kd_lab.errors import UserError
from kd_lab.measures.predict import predict
from kd_lab.models.common.weights import weights_sha256
from kd_lab.outside.console import console
from kd_lab.outside.nodes import DATASET, from_store_dataset
from kd_lab.run.build import build, call
from kd_lab.run.describe import network_name
from kd_lab.run.devices import resolve
from kd_lab.run.measured import measure
from kd_lab.run.plan import Plan
from kd_lab.run.pyfunc import Description, rebuilt
from kd_lab.run.report import ROWS
from kd_lab.run.settings import Settings
from kd_lab.tracking.client import first_line
from kd_lab.tracking.store import Store
from kd_lab.tracking.stored import StoredRun
from kd_lab.types import Data, Measurement


def evaluate(run_id: str, uri: str, trainer: Mapping[str, Any]) -> Measurement:
    """Measure and print beside what the run recorded; writes nothing.

    Raises:
        UserError: No such run, or it kept no network.
    """
    stored = Store.existing(uri).get(run_id)
    settings = _settings(stored, trainer)
    devices = resolve(settings.trainer)
    key = f"run:{stored.run_id}: dataset"
    dataset = build(key, from_store_dataset(settings.dataset), allowed=DATASET)
    data: Data = call(key, dataset.load, {})
    plan = Plan(settings, devices, data)
    out = console()
    if data.fingerprint != stored.tags.get(names.TAG_DATA_FINGERPRINT):
        out.print("The data is not what the run was measured on: its fingerprint differs.", style="yellow")
    network = _rebuild(stored)
    if weights_sha256(network) != stored.tags.get(names.TAG_WEIGHTS_SHA256):
        out.print("The weights are not what the run recorded: their sha256 differs.", style="yellow")
    teacher_logits = _teacher_logits(plan, stored, uri)
    found = measure(plan, network, precision=settings.student.recipe.precision, teacher_logits=teacher_logits)
    out.print(_table(stored, found.measurement, plan))
    return found.measurement


def _rebuild(stored: StoredRun) -> torch.nn.Module:
    description = _description(stored)
    return rebuilt(description, stored.download(names.ARTIFACT_WEIGHTS))


def _description(stored: StoredRun) -> Description:
    return Description.of_file(stored.download(names.ARTIFACT_NETWORK), f"run:{stored.run_id}: network")


def _settings(stored: StoredRun, trainer: Mapping[str, Any]) -> Settings:
    try:
        return Settings.of({**stored.config(), "trainer": dict(trainer)})
    except UserError as error:
        raise UserError(f"run:{stored.run_id}: {error}") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"run:{stored.run_id}: its {names.ARTIFACT_CONFIG} cannot be read ({first_line(error)}); expected a run "
            "that this version of kd-lab made"
        ) from error


def _teacher_logits(plan: Plan, stored: StoredRun, uri: str) -> torch.Tensor | None:
    """The teacher's answers on the test part, for the fidelity of a student; None for a run without a teacher."""
    teacher_id = stored.tags.get(names.TAG_TEACHER_RUN)
    if teacher_id is None:
        return None
    teacher = _rebuild(Store.existing(uri).get(teacher_id))
    return predict(teacher, plan.data.inputs[plan.data.test], device=plan.devices.main)


def _table(stored: StoredRun, found: Measurement, plan: Plan) -> Table:
    network = network_name(_description(stored).node)
    table = Table(title=f"{stored.tags.get(names.TAG_ROLE, '')} {network}, run {stored.run_id}", title_justify="left")
    for name in ("", "recorded", f"here ({plan.devices.main.type})"):
        table.add_column(name, justify="right" if name else "left")
    for label, key, form in ROWS:
        if key in found:
            table.add_row(label, form(stored.metrics[key]) if key in stored.metrics else "-", form(found[key]))
    return table
