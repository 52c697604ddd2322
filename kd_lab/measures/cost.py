"""What a network costs, as counts: parameters, multiply-accumulates, bytes on disk.

MACs are of matrix products, convolutions and attention for one sample; 1 MAC = 2 FLOPs. Activations, normalisation
and the like are not counted.
"""

import copy
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from kd_lab import names
from kd_lab.inputs import Inputs, call, eval_mode
from kd_lab.outside.scratch import scratch
from kd_lab.types import Measurement


def parameters(module: nn.Module) -> Measurement:
    """All parameters, and those that are trained; shared ones count once."""
    found = list(module.parameters())
    return {
        names.COST_PARAMS_TOTAL: float(sum(p.numel() for p in found)),
        names.COST_PARAMS_TRAINABLE: float(sum(p.numel() for p in found if p.requires_grad)),
    }


def macs(module: nn.Module, example: Inputs) -> Measurement:
    """Multiply-accumulates of one forward pass of one sample in eval mode, counted on the CPU.

    Args:
        module: the network, on any device; left as it was.
        example: one real sample [1, ...], as the network is given it, on the CPU.
    """
    from torch.utils.flop_counter import FlopCounterMode

    if any(tensor.device.type != "cpu" for tensor in module.state_dict().values()):
        module = copy.deepcopy(module).to("cpu")
    with eval_mode(module), torch.no_grad(), _no_fused_kernels(), FlopCounterMode(display=False) as counter:
        call(module, example)
    return {names.COST_MACS: counter.get_total_flops() / 2}


def weights_bytes(module: nn.Module) -> Measurement:
    """Bytes of the safetensors file of the parameters and buffers, as they are now; measured by writing one."""
    from safetensors.torch import save_model

    with scratch() as folder:
        path = Path(folder) / "weights.safetensors"
        save_model(module, str(path))
        return {names.COST_WEIGHTS_BYTES: float(path.stat().st_size)}


@contextmanager
def _no_fused_kernels() -> Iterator[None]:
    """Turns off the kernels that the counter (torch 2.15) cannot see into: oneDNN's LSTM, fused attention."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    fast_path = torch.backends.mha.get_fastpath_enabled()
    with warnings.catch_warnings():
        # Switching oneDNN warns about TF32 on Intel GPUs, whatever the machine.
        warnings.filterwarnings("ignore", message="TF32 acceleration")
        with torch.backends.mkldnn.flags(enabled=False), sdpa_kernel(SDPBackend.MATH):
            torch.backends.mha.set_fastpath_enabled(False)
            try:
                yield
            finally:
                torch.backends.mha.set_fastpath_enabled(fast_path)
