"""The forms in which a network leaves: each writes its files into a folder, and is read back from them."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import nn

from kd_lab import names
from kd_lab.errors import UserError
from kd_lab.export.onnx_file import CALIBRATION, in_onnxruntime, told_in_file, write_int8, write_onnx
from kd_lab.export.samples import Samples
from kd_lab.export.whole import Answering, Whole, WholeOfNamed
from kd_lab.inputs import facts
from kd_lab.job.pyfunc import Description, rebuilt
from kd_lab.models.common.fitted import Fitted
from kd_lab.store.stored_run import StoredRun


@dataclass(frozen=True)
class Source:
    """What is exported: a run's network in eval mode with what prepares its samples, and the samples.

    weights: the artifact that its weights are in. threads: of onnxruntime.
    """

    stored: StoredRun
    description: Description
    whole: Whole
    samples: Samples
    weights: str
    threads: int


class Part(NamedTuple):
    """A network that was read back from a file.

    name: the column's. file: its own, or None where it is not kept. told: what it is, in words.
    """

    name: str
    network: nn.Module
    file: Path
    told: str


@dataclass(frozen=True)
class Form:
    """One of them.

    ending: of the file. packages: what it needs beside kd-lab. make: writes the file, and gives what was read back from
    it, the file itself last. exact: whether its answers are to be those of PyTorch. beside: the ending of a second file
    that belongs to the first.
    """

    ending: str
    packages: tuple[str, ...]
    make: Callable[[Source, Path], list[Part]]
    exact: bool = True
    beside: str | None = None


def whole_of(network: nn.Module, description: Description, run_id: str) -> Whole:
    """The network for raw samples, in eval mode.

    Raises:
        UserError: it is no network that computes with tensors.
    """
    if any(isinstance(module, Fitted) for module in network.modules()):
        raise UserError(
            f"run={run_id}: is a fitted estimator of scikit-learn's kind, no network of tensors, and is not exported; "
            "distil it into a network and export that, or load its MLflow model in Python"
        )
    kind = WholeOfNamed if isinstance(description.input_shape, dict) else Whole
    return kind(network, tuple(description.model(network).steps)).eval()


def _onnx(source: Source, path: Path) -> list[Part]:
    told = told_in_file(source.stored.run_id, source.stored.study, source.description.classes)
    said = write_onnx(source.whole, source.samples.some(2), path, told)
    return [Part("onnx", in_onnxruntime(path, source.threads), path, said)]


def _int8(source: Source, path: Path) -> list[Part]:
    single = path.with_name("float32.onnx")
    (part,) = _onnx(source, single)
    rows = source.samples
    if rows.data is None:
        raise UserError(
            f"run={source.stored.run_id}: format=int8 is calibrated on samples that the student was distilled on, and "
            f"there is but {rows.told}; give the data their place again, or choose format=onnx"
        )
    calibration = rows.data.rows(rows.data.transfer[:CALIBRATION]).batch(0, CALIBRATION, "cpu")
    told = told_in_file(source.stored.run_id, source.stored.study, source.description.classes)
    said = write_int8(single, calibration, path, told)
    return [part, Part("int8", in_onnxruntime(path, source.threads), path, f"{said} transfer samples")]


def _torch_export(source: Source, path: Path) -> list[Part]:
    example = source.samples.some(2)
    one = isinstance(example, torch.Tensor)
    program = torch.export.export(
        source.whole,
        (example,) if isinstance(example, torch.Tensor) else (),
        None if isinstance(example, torch.Tensor) else dict(example),
        dynamic_shapes={"inputs": facts(example, lambda _: {0: torch.export.Dim("batch", min=1)})},
    )
    torch.export.save(program, path)
    answer = torch.export.load(path).module()
    takes = "input" if one else ", ".join(example)
    return [Part("torch_export", Answering(answer), path, f"torch.export of torch {torch.__version__}, takes {takes}")]


def _safetensors(source: Source, path: Path) -> list[Part]:
    config = path.with_suffix(".json")
    with source.stored.opened(source.weights) as weights, source.stored.opened(names.ARTIFACT_NETWORK) as network:
        shutil.copyfile(weights, path)
        shutil.copyfile(network, config)
    description = Description.of_file(config)
    back = whole_of(rebuilt(description, path), description, source.stored.run_id)
    return [Part("safetensors", back, path, "weights alone; what builds the network lies beside it, as JSON")]


FORMATS: dict[Literal["onnx", "torch_export", "safetensors", "int8"], Form] = {
    "onnx": Form(".onnx", ("onnx", "onnxruntime", "onnxscript"), _onnx),
    "torch_export": Form(".pt2", (), _torch_export),
    "safetensors": Form(".safetensors", (), _safetensors, beside=".json"),
    "int8": Form(".onnx", ("onnx", "onnxruntime", "onnxscript"), _int8, exact=False),
}
