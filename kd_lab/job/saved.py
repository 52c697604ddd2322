"""What a run keeps of a network: the network itself before anything is measured, and its answers once they are."""

import json
from pathlib import Path

import numpy as np
from torch import nn

from kd_lab import names
from kd_lab.analysis.figures.networks import confusion_matrix, reliability
from kd_lab.datasets.common.readers.texts import Texts
from kd_lab.inputs import dtypes, shapes
from kd_lab.insight.int8 import Int8, kept_ranges
from kd_lab.job.describe import network_name
from kd_lab.job.measured import Measured
from kd_lab.job.pyfunc import described
from kd_lab.job.raw import as_taken, written
from kd_lab.job.strict import Node
from kd_lab.measures.per_sample import per_sample
from kd_lab.measures.predictive import confusion, reliability_bins
from kd_lab.models.common.weights import save_weights, weights_sha256
from kd_lab.outside.scratch import scratch
from kd_lab.store.queries import UNMEASURED
from kd_lab.store.run import Run
from kd_lab.types import Data, Measurement


def save_network(run: Run, data: Data, node: Node, network: nn.Module, trained: Measurement) -> str:
    """Its weights, what rebuilds it, an MLflow model, and what its training cost; nothing is lost after this.

    Returns:
        The hash of the weights.
    """
    with scratch() as folder:
        path = Path(folder) / Path(names.ARTIFACT_WEIGHTS).name
        save_weights(network, path)
        run.log_file(path, names.ARTIFACT_WEIGHTS)
    taken, steps = as_taken(data)
    raw = taken.example(1)
    kinds = {"input_shape": shapes(data.example(1)), "input_dtype": dtypes(raw), "prepare": steps}
    named = {"classes": list(data.class_names)}
    rebuild = {"node": node, "num_classes": data.num_classes, **named, **kinds}
    if data.tokens is not None:
        rebuild["tokens"] = {"vocab_size": data.tokens.vocab_size, "padding": data.tokens.padding}
    if (ranges := kept_ranges(network)) is not None:
        rebuild["activation_ranges"] = Int8(network).named(ranges)
    reader = data.reader if taken is not data else None  # of samples that a network takes as they came
    if reader is not None:
        rebuild["reader"] = reader.node
    run.log_text(json.dumps(rebuild, indent=2), names.ARTIFACT_NETWORK)
    sample = written(raw)
    texts = reader.columns if isinstance(reader, Texts) else ()
    model, told = described(run.run_id, raw, data.num_classes, with_example=sample is not None, texts=texts)
    run.log_text(model, names.ARTIFACT_MLMODEL)
    if sample is not None:
        run.log_text(sample, names.ARTIFACT_EXAMPLE)
    sha256 = weights_sha256(network)
    costs = {key: value for key, value in trained.items() if not key.startswith("val/")}  # those are curves already
    run.log_measurement(costs)
    run.set_tags({names.TAG_MODELS: told, names.TAG_WEIGHTS_SHA256: sha256, names.TAG_UNMEASURED: UNMEASURED})
    return sha256


def save_answers(run: Run, data: Data, role: str, node: Node, measured: Measured, *, drawn: bool = True) -> None:
    """What it answers to each test sample, and the two pictures of that, which take longer than a small network."""
    logits, targets = measured.logits, data.targets[data.test]
    with scratch() as folder:
        path = Path(folder) / names.ARTIFACT_PREDICTIONS
        # Not compressed: that takes 20 times as long and saves a third.
        np.savez(path, allow_pickle=False, **per_sample(logits, targets, data.test))
        run.log_file(path, names.ARTIFACT_PREDICTIONS)
    if not drawn:
        return
    title = f"{role}: {network_name(node)}"
    run.log_figure(confusion_matrix(confusion(logits, targets), title), names.ARTIFACT_CONFUSION)
    bins = reliability_bins(logits, targets)
    figure = reliability(bins.counts, bins.confidence, bins.accuracy, bins.ece, title)
    run.log_figure(figure, names.ARTIFACT_RELIABILITY)
