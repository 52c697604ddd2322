"""The data that a run reads, as MLflow datasets: one for each part that it is trained, followed and measured on.

The classes of `mlflow.data` are left out: they would hash all the data again, which has a fingerprint already.
"""

import hashlib
import json

from torch import Tensor

from kd_lab import names
from kd_lab.inputs import shapes
from kd_lab.job.plan import Plan
from kd_lab.job.pyfunc import tensor_specs
from kd_lab.store.entries import Input
from kd_lab.types import UNLABELLED, Data

FINGERPRINT_LENGTH = 12


def inputs(plan: Plan, role: str, part: str | None) -> list[Input]:
    """The datasets of a run. They share a name; a run has each name and digest once, so the digest says the part too.

    Args:
        plan: the job.
        role: whose run it is; teachers see all classes, trials no test part.
        part: what it is trained on, `train` or `transfer`; None where it comes trained.
    """
    data = plan.data if role == names.TEACHER else plan.seen
    found = []
    if part is not None:
        found.append(_input(plan, data, part, "training"))
        if len(data.validation):
            found.append(_input(plan, data, "validation", "validation"))
    if role != names.TRIAL:
        found.append(_input(plan, data, "test", "test"))
    return found


def _input(plan: Plan, data: Data, part: str, context: str) -> Input:
    rows: Tensor = getattr(data, part)
    digest = f"{data.fingerprint[:FINGERPRINT_LENGTH]}-{part}"
    if len(rows) != len(getattr(plan.data, part)):  # some classes are left out, which the fingerprint does not know
        digest += f"-{hashlib.sha256(rows.numpy().tobytes()).hexdigest()[:8]}"
    example = data.example(1)
    tensors = {"features": tensor_specs(example), "targets": tensor_specs(data.targets)}
    profile = {
        "samples": len(rows),
        "labelled": int((data.targets[rows] != UNLABELLED).sum()),
        "classes": data.num_classes,
        "input_shape": shapes(example),
    }
    if data.class_names:
        profile["class_names"] = list(data.class_names)
    return Input(
        name=data.name,
        digest=digest,
        source_type="code",
        source=json.dumps({"tags": dict(plan.settings.dataset)}, default=str),
        schema=json.dumps({"mlflow_tensorspec": tensors}),
        profile=json.dumps(profile),
        tags={names.TAG_DATA_CONTEXT: context},
    )
