"""A network as an ONNX file, and one in int8; both answer in onnxruntime, without PyTorch or kd-lab.

Source of int8: onnxruntime's static quantization in the QDQ form: weights in int8 per channel, activations in int8 with
ranges that are calibrated on samples (Jacob et al. 2018, arXiv:1712.05877).
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kd_lab.errors import UserError
from kd_lab.export.whole import Answering, Whole
from kd_lab.inputs import Inputs, count, each, facts
from kd_lab.models.common.inputs import first_line

OUTPUT = "logits"
LARGEST = 2**31 - 2**24
"""Bytes of weights that fit into one file of ONNX, which is a message of protobuf."""
QUANTIZED = ("Conv", "Gemm", "MatMul")
"""The operators whose products int8 makes cheaper; all else stays in float32."""
CALIBRATION = 512
"""Samples that ranges are calibrated on."""


def write_onnx(whole: Whole, example: Inputs, path: Path, facts_told: Mapping[str, str]) -> str:
    """Write it, for batches of every size; returns what a user is told of the file.

    Args:
        whole: in eval mode, on the CPU.
        example: samples [B, ...], at least two.
        path: to be written.
        facts_told: kept in the file as its metadata.

    Raises:
        UserError: the network has something that ONNX cannot express, or more weights than fit into the file.
    """
    import onnx

    size = sum(tensor.numel() * tensor.element_size() for tensor in whole.state_dict().values())
    if size > LARGEST:
        raise UserError(
            f"format=onnx: the network has {size:,} bytes of weights, expected at most {LARGEST:,} in one file; choose "
            "format=torch_export"
        )
    one = isinstance(example, Tensor)
    batch = torch.export.Dim("batch", min=1)
    program = torch.onnx.export(
        whole,
        (example,) if one else (),
        kwargs=None if one else dict(example),
        dynamic_shapes={"inputs": facts(example, lambda _: {0: batch})},
        input_names=["input"] if one else list(example),
        output_names=[OUTPUT],
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    program.save(str(path))
    model = onnx.load(str(path))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    _stamp(model, path, facts_told)
    opset = next(one.version for one in model.opset_import if not one.domain)
    return f"ONNX opset {opset}, dynamic batch"


def write_int8(source: Path, calibration: Inputs, path: Path, facts_told: Mapping[str, str]) -> str:
    """Quantize an ONNX file; returns what a user is told of the new one.

    Args:
        source: the file in float32.
        calibration: samples [N, ...] as it takes them.
        path: to be written.
        facts_told: kept in the file as its metadata.

    Raises:
        UserError: nothing in it can be quantized.
    """
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    before = Counter(node.op_type for node in onnx.load(str(source)).graph.node)
    if not any(before[kind] for kind in QUANTIZED):
        raise UserError(
            f"format=int8: expected a network with one of {', '.join(QUANTIZED)}, but it has none that could be "
            "quantized; choose format=onnx"
        )
    prepared = source.with_name("prepared.onnx")
    quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
    quantize_static(
        str(prepared),
        str(path),
        _Calibration(calibration),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=list(QUANTIZED),
        per_channel=True,
        activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod.MinMax,
    )
    model = onnx.load(str(path))
    _stamp(model, path, facts_told)
    kinds = ", ".join(f"{before[kind]} {kind}" for kind in QUANTIZED if before[kind])
    opset = next(one.version for one in model.opset_import if not one.domain)
    return f"ONNX opset {opset}, dynamic batch, int8 ({kinds}; all else float32) calibrated on {count(calibration)}"


def _stamp(model: Any, path: Path, told: Mapping[str, str]) -> None:
    import onnx

    del model.metadata_props[:]
    onnx.helper.set_model_props(model, dict(told))
    onnx.save(model, str(path))


class _Calibration:
    """Samples, a few at a time, as onnxruntime asks for them."""

    def __init__(self, samples: Inputs, size: int = 64) -> None:
        self._batches = _pieces(samples, size)

    def get_next(self) -> dict[str, Any] | None:
        """The next ones by name; None after the last."""
        return next(self._batches, None)


def _pieces(samples: Inputs, size: int) -> Iterator[dict[str, Any]]:
    for start in range(0, count(samples), size):
        piece = each(samples, lambda one, start=start: one[start : start + size])  # type: ignore[misc]
        yield {"input": piece.numpy()} if isinstance(piece, Tensor) else {name: t.numpy() for name, t in piece.items()}


def in_onnxruntime(path: Path, threads: int) -> Answering:
    """What an ONNX file answers in onnxruntime on the CPU, with so many threads.

    Raises:
        UserError: onnxruntime cannot load it.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no class in common
        raise UserError(f"format=onnx: onnxruntime cannot load the file that was made ({first_line(error)})") from error
    wanted = [one.name for one in session.get_inputs()]

    def answer(*given: Tensor, **named: Tensor) -> Tensor:
        tensors = dict(zip(wanted, given, strict=False)) | named
        (logits,) = session.run(None, {name: tensors[name].numpy() for name in wanted})
        return torch.from_numpy(logits)

    return Answering(answer)


def told_in_file(run_id: str, study: str, classes: tuple[str, ...]) -> dict[str, str]:
    """What an ONNX file says of itself."""
    named = {"classes": json.dumps(list(classes))} if classes else {}
    return {"made_by": "kd-lab", "run": run_id, "study": study, **named}
