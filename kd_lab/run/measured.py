"""One network, measured: the same code for teacher, baseline and student, on the test part and on this device."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kd_lab import names
from kd_lab.measures.cost import macs, parameters, weights_bytes
from kd_lab.measures.fidelity import fidelity
from kd_lab.measures.latency import latency
from kd_lab.measures.predict import predict
from kd_lab.measures.predictive import predictive
from kd_lab.run.plan import Plan
from kd_lab.types import Measurement


@dataclass(frozen=True)
class Measured:
    """What was measured, and the test logits [N, K] that figures and a student's fidelity are made from."""

    measurement: Measurement
    logits: Tensor


def measure(plan: Plan, network: nn.Module, *, precision: str, teacher_logits: Tensor | None = None) -> Measured:
    """Predictive quality, fidelity to the teacher (where there is one) and the cost of running it."""
    data, settings = plan.data, plan.settings.measure
    device = plan.devices.main
    network = network.to(device)
    logits = predict(network, data.inputs[data.test], device=device, precision=precision)
    targets = data.targets[data.test]
    found = predictive(logits, targets)
    if teacher_logits is not None:
        found |= fidelity(logits, teacher_logits, targets)
    found |= parameters(network) | macs(network, data.input_shape) | weights_bytes(network)
    found |= latency(
        network,
        data.input_shape,
        device=device,
        threads=settings.threads,
        warmup=settings.latency_warmup,
        runs=settings.latency_runs,
        batch_size=settings.throughput_batch,
    )
    return Measured(found, logits)


def runtime(plan: Plan) -> dict[str, str]:
    """Where the costs were measured, as tags beside the numbers."""
    device = plan.devices.main
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    return {
        names.TAG_DEVICE: name,
        names.TAG_PROCESSES: str(plan.devices.count),
        names.TAG_THREADS: str(plan.settings.measure.threads or torch.get_num_threads()),
        names.TAG_DATA_FINGERPRINT: plan.data.fingerprint,
    }
