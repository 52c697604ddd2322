"""`kd-lab predict run=ID FILE`: what a finished run's network says of samples as its dataset's files have them."""

import csv
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import numpy as np
import torch

from kd_lab import names
from kd_lab.datasets.common.files import batches_of, to_inputs
from kd_lab.errors import UserError
from kd_lab.inputs import shapes
from kd_lab.job.evaluate import measuring, rebuild
from kd_lab.job.measured import FAILURES
from kd_lab.job.pyfunc import Description, Model
from kd_lab.job.raw import listed
from kd_lab.store.store import Store
from kd_lab.types import Read

ARRAYS = (".npz", ".npy")


def predict(run_id: str, uri: str, path: str, out: str | None = None) -> None:
    """Write a line for each sample, as CSV: the class, how sure, the probability of each class.

    Samples are read and answered a batch at a time; nothing is written before all of them are.

    Args:
        run_id: of a network that kd-lab trained.
        uri: of the store.
        path: an .npz file with X, an .npy file, or a file like those that were learned from.
        out: the file that is written; None: standard output.

    Raises:
        UserError: no such run, no such file, or samples of another shape or kind than the network's.
    """
    stored = Store.existing(uri).get(run_id)
    network, description = rebuild(stored)
    model = description.model(network)
    size = measuring(stored.config()).predict_batch
    with _whole(out) as stream:
        lines = csv.writer(stream, lineterminator="\n")
        count = 0
        for read in _samples(path, model, description, run_id, size):
            answers = _answers(model, read, path, description)
            if not count:
                lines.writerow(_header(answers.shape[1], description.classes, named=bool(read.names)))
            lines.writerows(_rows(answers, description.classes, read.names, count))
            count += len(answers)


def _samples(path: str, model: Model, description: Description, run_id: str, size: int) -> Iterator[Read]:
    """Those of a file, as the network takes them."""
    if isinstance(description.input_shape, dict):
        if model.reader is None:
            raise UserError(
                f"run={run_id}: its network takes {', '.join(description.input_shape)}, and what makes these of "
                "samples was not kept with it; load its MLflow model in Python instead"
            )
        return model.reader.batches(path, size)
    if model.reader is None or Path(path).suffix in ARRAYS:
        return _arrays(path, description.input_dtype, size)
    return model.reader.batches(path, size)


def _arrays(path: str, kind: str, size: int) -> Iterator[Read]:
    """X of a file of arrays, of the kind that the network learned from."""
    count = 0
    for array in batches_of(path, path, "X", size):
        inputs = to_inputs(array, "X", path, count)
        if (inputs.dtype == torch.uint8) != (kind == "uint8"):
            raise UserError(f"{path}: X is {array.dtype}, but the network learned from {kind}; expected the same")
        count += len(array)
        yield Read(inputs)


def _answers(model: Model, read: Read, path: str, description: Description) -> np.ndarray:
    """Probabilities [B, K] float64 of the classes."""
    try:
        logits = model.predict(read.inputs)
    except (*FAILURES, IndexError) as error:
        wanted = listed(description.input_shape) if model.columns is None else [len(model.columns.columns)]
        raise UserError(
            f"{path}: the network cannot take samples of shape {shapes(read.inputs)}; expected {wanted}"
        ) from error
    probabilities: np.ndarray = torch.from_numpy(logits).double().softmax(dim=1).numpy()
    return probabilities


def _header(num_classes: int, classes: tuple[str, ...], *, named: bool) -> list[str]:
    columns = [names.sample_probability(number) for number in range(num_classes)]
    return [
        names.SAMPLE_INDEX,
        *([names.SAMPLE_NAME] if named else []),
        names.SAMPLE_PREDICTED,
        *([names.SAMPLE_CLASS] if classes else []),
        names.SAMPLE_CONFIDENCE,
        *columns,
    ]


def _rows(
    probabilities: np.ndarray, classes: tuple[str, ...], called: Sequence[str], start: int
) -> Iterator[list[object]]:
    for place, row in enumerate(probabilities):
        best = row.argmax()
        yield [
            start + place,
            *([called[place]] if called else []),
            best,
            *([classes[best]] if classes else []),
            f"{row.max():.6f}",
            *(f"{p:.6f}" for p in row),
        ]


@contextmanager
def _whole(out: str | None) -> Iterator[TextIO]:
    """A file that becomes `out`, or is copied to standard output, when all is in it.

    Raises:
        UserError: it is there already, or cannot be written.
    """
    if out is None:
        with tempfile.TemporaryFile("w+", encoding="utf-8", newline="") as stream:
            yield stream
            stream.seek(0)
            shutil.copyfileobj(stream, sys.stdout)
        return
    file = Path(out).expanduser()
    if file.exists():
        raise UserError(f"out={out}: is there already; choose another name")
    try:
        with tempfile.TemporaryDirectory(prefix=".kd_lab_predict_", dir=file.parent) as folder:
            made = Path(folder) / "predictions.csv"
            with made.open("w", encoding="utf-8", newline="") as stream:
                yield stream
            os.replace(made, file)
    except OSError as error:
        raise UserError(f"out={out}: cannot be written ({error.strerror or error}); choose another place") from error
