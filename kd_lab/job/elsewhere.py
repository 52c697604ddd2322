"""`kd-lab evaluate run=ID dataset=NAME`: a finished run's network on other data, such as another scanner's or year's.

What is measured there is printed and kept nowhere: a run's numbers are those of the data that it names.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import nn

from kd_lab import names
from kd_lab.errors import UserError, choices
from kd_lab.inputs import Inputs, dtypes, shapes
from kd_lab.job.arguments import key_of, parse
from kd_lab.job.compose import check_complete, composing
from kd_lab.job.describe import network_name
from kd_lab.job.devices import resolve
from kd_lab.job.evaluate import beside, data_of, measuring, precision_of, rebuild
from kd_lab.job.fitting import dataset_of, loaded
from kd_lab.job.measured import FAILURES, Bench, measure
from kd_lab.job.pyfunc import Description
from kd_lab.job.raw import as_taken
from kd_lab.job.report import with_interval
from kd_lab.job.settings import TrainerSettings
from kd_lab.job.strict import Node, parsed
from kd_lab.outside.console import console
from kd_lab.outside.text import line
from kd_lab.store.store import Store
from kd_lab.store.stored_run import StoredRun
from kd_lab.types import Data, Measurement, Prepare

CUT = ("seed", "labels", "validation", "test", "augment", "standardize")
"""Settings of datasets from which it does not follow which samples there are."""


def evaluate_on(
    run_id: str, uri: str, trainer: Mapping[str, Any], overrides: Sequence[str], *, best: bool = False
) -> Measurement:
    """Measure on the test part of other data, and print that beside what the run recorded; writes nothing.

    Raw samples are prepared as the run's own were, not as the other dataset would.

    Args:
        run_id: of a network that kd-lab trained.
        uri: of the store.
        trainer: the node of the device.
        overrides: of the dataset: `dataset=NAME` with its settings, or those in which it differs from the run's own.
        best: the weights of its best epoch on the validation part.

    Raises:
        UserError: no such run or dataset, or its samples or classes are not those that the network learned.
    """
    stored = Store.existing(uri).get(run_id)
    config = stored.config()
    devices = resolve(parsed("trainer", dict(trainer), TrainerSettings))
    network, description = rebuild(stored, names.ARTIFACT_WEIGHTS_BEST if best else names.ARTIFACT_WEIGHTS)
    own = config["dataset"] if isinstance(config.get("dataset"), dict) else {}
    node, other = _chosen(stored, own, overrides)
    data = _as_learned(other, network, description, stored)
    bench = Bench(data, devices, measuring(config))
    label = f"{stored.tags.get(names.TAG_ROLE, 'network')} {network_name(description.node)}"
    found = measure(bench, network, precision=precision_of(stored, config), label=label, costs=False)
    if not found.has_answers:
        raise UserError(f"{' '.join(overrides)}: its answers cannot be measured there ({found.reasons()})")
    recorded = {key: stored.metrics.get(names.of_best(key) if best else key) for key in found.measurement}
    out = console()
    out.print(beside(recorded, found.measurement, f"{label}, run {stored.run_id}", f"on {data.name}"))
    same_files = _files(node) == _files(own)
    accuracy = recorded[names.TEST_ACCURACY_TOP1]
    for sentence in _told(stored, data, accuracy, found.measurement, same_files=same_files):
        out.print(line(sentence), soft_wrap=True)
    return found.measurement


def _told(stored: StoredRun, data: Data, recorded: float | None, found: Measurement, *, same_files: bool) -> list[str]:
    samples = stored.tags.get(names.TAG_TEST_SAMPLES, "")
    told = [f"There: {with_interval(found[names.TEST_ACCURACY_TOP1], len(data.test))}."]
    if recorded is not None and samples.isdecimal() and int(samples) > 0:
        told.insert(0, f"Recorded: {with_interval(recorded, int(samples))}.")
    if data.fingerprint == stored.tags.get(names.TAG_DATA_FINGERPRINT):
        told.append("These are the very data that the run was measured on: their fingerprint is the same.")
    elif same_files:
        told.append("These are the run's own files, cut otherwise: it may have been trained on what is its test there.")
    return [*told, "Nothing was added to the run."]


def _chosen(stored: StoredRun, own: Mapping[str, Any], overrides: Sequence[str]) -> tuple[Node, Data]:
    """The dataset that the overrides mean and what it loads: one of conf/, or the run's own with other settings."""
    options = parse(list(overrides))
    with composing(options) as compose:
        if any(key_of(one) in {"dataset", "dataset._target_"} for one in overrides):
            node: Node = compose.single(overrides, "one dataset")["dataset"]
            check_complete(node, "dataset")
            return node, loaded("dataset", dataset_of("dataset", node))
        changed = {one.key_or_group: one.value() for one in compose.parsed(overrides)}
    known = [f"dataset.{key}" for key in own if not key.startswith("_")]
    for key in changed:
        if key not in known:
            raise UserError(f"{key}: the dataset of run {stored.run_id} has no such setting; {choices(key, known)}")
    node = {**own, **{key.removeprefix("dataset."): value for key, value in changed.items()}}
    return node, data_of(stored, {"dataset": node})


def _files(node: Node) -> Node:
    """What of a dataset's node says which samples there are, not how they are cut."""
    return {key: value for key, value in node.items() if key not in CUT}


def _as_learned(other: Data, network: nn.Module, description: Description, stored: StoredRun) -> Data:
    """The other data, their raw samples prepared as those were that the network learned from.

    Raises:
        UserError: another number of classes, other classes, or samples of another kind or shape.
    """
    key = f"dataset {other.name}"
    if other.num_classes != description.num_classes:
        raise UserError(
            f"{key}: has {other.num_classes} classes, but the network of run {stored.run_id} learned "
            f"{description.num_classes}; expected the same"
        )
    if other.class_names and description.classes and other.class_names != description.classes:
        unlike = next((o, d) for o, d in zip(other.class_names, description.classes, strict=True) if o != d)
        raise UserError(
            f"{key}: its classes are others, the first of them {unlike[0]} where the network of run {stored.run_id} "
            f"learned {unlike[1]}; expected the same in the same order"
        )
    description.check_meaning(
        other, key, f"expected the same, or ask what it says of new files: kd-lab predict run={stored.run_id[:8]} FILE"
    )
    taken, _ = as_taken(other)
    raw = taken.example(1)
    if dtypes(raw) != description.input_dtype:
        raise UserError(
            f"{key}: its samples are {dtypes(raw)}, but the network of run {stored.run_id} learned from "
            f"{description.input_dtype}; expected the same"
        )
    steps = description.model(network).steps

    def prepare(inputs: Inputs) -> Inputs:
        for step in steps:
            inputs = step(inputs)
        return inputs

    _check_shape(key, raw, prepare, description, stored)
    return replace(taken, prepare=prepare)


def _check_shape(key: str, raw: Inputs, prepare: Prepare, description: Description, stored: StoredRun) -> None:
    wanted: Node | list[int] = (
        {name: list(shape) for name, shape in description.input_shape.items()}
        if isinstance(description.input_shape, dict)
        else list(description.input_shape)
    )
    try:
        came = shapes(prepare(raw))
    except FAILURES:
        came = None
    if came != wanted:
        raise UserError(
            f"{key}: its samples have the shape {came or shapes(raw)}, but the network of run {stored.run_id} learned "
            f"from {wanted}; expected the same"
        )
