"""How good a network is in int8, and how small: see `kd_lab.insight.int8` for what is rounded."""

import copy

import torch
from torch import nn

from kd_lab import names
from kd_lab.inputs import eval_mode
from kd_lab.insight.int8 import InInt8, Int8, kept_ranges, layers, weight_scale
from kd_lab.measures.cost import weights_bytes
from kd_lab.measures.predict import predict
from kd_lab.measures.predictive import predictive
from kd_lab.types import Measurement, Rows

CALIBRATION = 512
"""Samples that the ranges of activations are taken from, where a network has learned none."""
PIECE = 64


def int8_accuracy(
    network: nn.Module, test: Rows, calibration: Rows, *, device: torch.device | str, batch_size: int = 1024
) -> Measurement:
    """Top-1 on the test part in int8, simulated in float32; the network is left as it was, on the device.

    Args:
        network: inputs to logits. Its activations lie between the values that it learned, or else between the least
            and the largest that the calibration samples make.
        test: what it is measured on.
        calibration: samples of what it was trained on; the first 512 are taken.
        device: where it answers.
        batch_size: see `predict`.
    """
    ranges = kept_ranges(network)
    if ranges is None:
        network.to(device)
        starts = range(0, min(CALIBRATION, len(calibration)), PIECE)
        with eval_mode(network):
            ranges = Int8(network).calibrated(calibration.batch(start, PIECE, device) for start in starts)
    said = predict(InInt8(network, ranges), test, device=device, batch_size=batch_size)
    return {names.TEST_INT8_ACCURACY_TOP1: predictive(said, test.targets)[names.TEST_ACCURACY_TOP1]}


def int8_bytes(network: nn.Module) -> Measurement:
    """Bytes of a safetensors file of it in int8: rounded weights, a float32 scale for each of their channels, a scale
    and the number of 0 for what each layer is given, and all else as it is; measured by writing one.
    """
    small = copy.deepcopy(network)
    for layer in layers(small).values():
        scale_C = weight_scale(layer.weight)
        scale = scale_C.reshape(-1, *[1] * (layer.weight.ndim - 1))
        layer.weight = nn.Parameter((layer.weight.detach() / scale).round().to(torch.int8), requires_grad=False)
        layer.register_buffer("weight_scale", scale_C)
        layer.register_buffer("input_scale", torch.ones(()))
        layer.register_buffer("input_zero", torch.zeros((), dtype=torch.int8))
    return {names.COST_INT8_WEIGHTS_BYTES: weights_bytes(small)[names.COST_WEIGHTS_BYTES]}
