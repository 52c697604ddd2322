"""The model card that lies beside an exported network: what it is, what it learned from, how good it is, what it costs.

Source: Mitchell et al. 2019, "Model Cards for Model Reporting" (arXiv:1810.03993), as far as a run knows it.
"""

import json
from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from kd_lab import __version__, names
from kd_lab.export.samples import Samples
from kd_lab.inputs import dtypes, shapes
from kd_lab.job.describe import network_name
from kd_lab.job.pyfunc import Description
from kd_lab.job.report import with_interval
from kd_lab.outside.text import cell, code, markdown
from kd_lab.store.stored_run import StoredRun

UNKNOWN = "not known"


class Told(NamedTuple):
    """What an export found out.

    file: the name of the exported one. what: what that is. checked: how far its answers are from PyTorch's. rows: a
    header and what was measured of each form. where: what that was measured on. prepared: who does what
    prepares the samples. licence: of the data. best: whether
    its weights are those of its best epoch.
    """

    file: str
    what: str
    checked: str
    rows: Sequence[Sequence[str]]
    where: str
    prepared: str
    licence: str
    best: bool


def card(stored: StoredRun, description: Description, told: Told, samples: Samples) -> str:
    """The card of a run's network, Markdown."""
    role = stored.tags.get(names.TAG_ROLE, "network")
    data = UNKNOWN if samples.data is None else samples.data.name
    facts = [
        ("what", f"a classifier, {network_name(description.node)} ({role}), made with kd-lab {__version__}"),
        ("run", f"{stored.run_id}, study {stored.study}"),
        ("weights", "of the best epoch on the validation part" if told.best else "of the last step"),
        ("teacher", f"run {teacher}" if (teacher := stored.tags.get(names.TAG_TEACHER_RUN)) else "none"),
        ("data", f"{data}, fingerprint {stored.tags.get(names.TAG_DATA_FINGERPRINT, UNKNOWN)}"),
        ("licence of the data", told.licence or UNKNOWN),
        ("accuracy", accuracy(stored, best=told.best)),
        ("parameters", _number(stored, names.COST_PARAMS_TOTAL)),
        ("multiply-accumulates per sample", _number(stored, names.COST_MACS)),
        ("bytes of its weights in float32", _number(stored, names.COST_WEIGHTS_BYTES)),
        ("file", f"{told.file}: {told.what}"),
        ("checked", told.checked),
        ("takes", _takes(samples)),
        ("answers", f"logits [batch, {description.num_classes}]; their softmax is the probability of each class"),
        ("classes", ", ".join(description.classes) or f"0 to {description.num_classes - 1}, their names {UNKNOWN}"),
    ]
    lines = [f"# {network_name(description.node)}, {role}", "", "| | |", "|---|---|"]
    lines += [f"| {name} | {cell(value)} |" for name, value in facts]
    lines += ["", "## Preparation", "", told.prepared, ""]
    lines += [f"- {code(json.dumps(step))}" for step in description.prepare]
    lines += ["", "## Measured", "", told.where, ""]
    header, *measured = told.rows
    lines += [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
    lines += [f"| {' | '.join(row)} |" for row in measured]
    return markdown("\n".join([*lines, ""]))


def accuracy(stored: StoredRun, *, best: bool) -> str:
    """What the run recorded, with what so few samples leave open."""
    key = names.of_best(names.TEST_ACCURACY_TOP1) if best else names.TEST_ACCURACY_TOP1
    found, samples = stored.metrics.get(key), stored.tags.get(names.TAG_TEST_SAMPLES, "")
    if found is None or not 0 <= found <= 1 or not samples.isdecimal() or int(samples) < 1:
        return UNKNOWN
    return with_interval(found, int(samples))


def _takes(samples: Samples) -> str:
    held = samples.held
    if isinstance(held, Tensor):
        return _tensor(held)
    return ", ".join(f"{name} {_tensor(one)}" for name, one in held.items())


def _tensor(one: Tensor) -> str:
    return f"{dtypes(one)} [{', '.join(['batch', *map(str, shapes(one))])}]"


def _number(stored: StoredRun, key: str) -> str:
    found = stored.metrics.get(key)
    return UNKNOWN if found is None else f"{found:,.0f}"
