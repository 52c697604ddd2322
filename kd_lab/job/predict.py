"""`kd-lab predict run=ID FILE`: what a finished run's network says of samples as its dataset's files have them."""

import csv
import sys

import numpy as np
import torch

from kd_lab import names
from kd_lab.datasets.common.files import read, to_inputs
from kd_lab.errors import UserError
from kd_lab.job.evaluate import rebuild
from kd_lab.job.measured import FAILURES
from kd_lab.store.store import Store


def predict(run_id: str, uri: str, path: str) -> None:
    """Write a line for each sample to standard output, as CSV: the class, how sure, the probability of each class.

    Args:
        run_id: of a network that kd-lab trained.
        uri: of the store.
        path: an .npz file with X, an .npy file, or a table like the one that was learned from.

    Raises:
        UserError: no such run, no such file, or samples of another shape or kind than the network's.
    """
    network, description = rebuild(Store.existing(uri).get(run_id))
    expected = description.input_shape
    if isinstance(expected, dict):
        raise UserError(
            f"run={run_id}: its network takes {', '.join(expected)}; load its MLflow model in Python instead"
        )
    model = description.model(network)
    rows = None if model.columns is None else model.columns.read(path)
    samples = _arrays(path, description.input_dtype) if rows is None else rows
    try:
        logits = model.predict(samples)
    except FAILURES as error:
        wanted = list(expected) if model.columns is None else [len(model.columns.columns)]
        raise UserError(
            f"{path}: the network cannot take samples of shape {list(samples.shape[1:])}; expected {wanted}"
        ) from error
    _write(torch.from_numpy(logits).double().softmax(dim=1).numpy(), description.classes)


def _arrays(path: str, kind: str) -> np.ndarray:
    """X of a file of arrays, of the kind that the network learned from."""
    arrays, held = read(path, path, bare="X", wanted=("X",))
    if "X" not in arrays:
        raise UserError(f"{path}: no array named X, it holds {', '.join(held[:8]) or 'nothing'}; rename one to X.")
    inputs = to_inputs(arrays["X"], "X", path)
    if (inputs.dtype == torch.uint8) != (kind == "uint8"):
        raise UserError(f"{path}: X is {arrays['X'].dtype}, but the network learned from {kind}; expected the same")
    return inputs.numpy()


def _write(probabilities: np.ndarray, classes: tuple[str, ...]) -> None:
    columns = [names.sample_probability(number) for number in range(probabilities.shape[1])]
    lines = csv.writer(sys.stdout, lineterminator="\n")
    named = [names.SAMPLE_CLASS] if classes else []
    lines.writerow([names.SAMPLE_INDEX, names.SAMPLE_PREDICTED, *named, names.SAMPLE_CONFIDENCE, *columns])
    for index, row in enumerate(probabilities):
        called = [classes[row.argmax()]] if classes else []
        lines.writerow([index, row.argmax(), *called, f"{row.max():.6f}", *(f"{p:.6f}" for p in row)])
