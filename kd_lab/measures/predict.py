"""What a network answers for a whole part of a dataset.

Legend: N samples, K classes.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor, nn

from kd_lab.errors import choices
from kd_lab.inputs import Inputs, call, count, each, eval_mode
from kd_lab.types import Rows

AUTOCAST: dict[str, torch.dtype | None] = {
    "32": None,
    "32-true": None,
    "bf16-mixed": torch.bfloat16,
    "16-mixed": torch.float16,
}


def predict(
    module: nn.Module,
    inputs: Inputs | Rows,
    *,
    device: torch.device | str,
    batch_size: int = 1024,
    precision: str = "32",
) -> Tensor:
    """Logits [N, K], float32 on the CPU, of `module` in eval mode.

    The module is moved to `device` and stays there; its train/eval modes are restored.

    Args:
        module: inputs to logits [B, K].
        inputs: [N, ...] as the module is given them, on any device; or rows of a dataset, read batch by batch.
        device: where the module answers.
        batch_size: samples at a time; halved for as long as there is no memory for so many.
        precision: "32" or Lightning's "bf16-mixed", "16-mixed" (autocast).

    Raises:
        ValueError: no samples, a batch size below 1, an unknown precision.
    """
    samples = inputs if isinstance(inputs, Rows) else _Held(inputs)
    if len(samples) == 0:
        raise ValueError("Expected `inputs` to hold at least one sample, but got none.")
    if batch_size < 1:
        raise ValueError(f"Expected `batch_size` to be at least 1, but got {batch_size}.")
    target = torch.device(device)
    module.to(target)
    with eval_mode(module), torch.inference_mode(), autocast(target, precision):
        parts = _answers(module, samples, target, batch_size)
    # Joined outside of inference mode: the result may take part in a graph.
    return torch.cat(parts)


class _Held(NamedTuple):
    """Inputs that are there, read as rows are."""

    inputs: Inputs

    def __len__(self) -> int:
        return count(self.inputs)

    def batch(self, start: int, size: int, device: torch.device | str) -> Inputs:
        return each(self.inputs, lambda one: one[start : start + size].to(device))


def _answers(module: nn.Module, samples: Rows | _Held, device: torch.device, batch_size: int) -> list[Tensor]:
    """Batch by batch; what is answered already is not asked again when the batches become smaller."""
    parts: list[Tensor] = []
    done = 0
    while done < len(samples):
        try:
            parts.append(call(module, samples.batch(done, batch_size, device)).float().cpu())
        except (RuntimeError, MemoryError) as error:
            batch_size = smaller(batch_size, error)
        else:
            done += batch_size
    return parts


def smaller(batch_size: int, error: RuntimeError | MemoryError) -> int:
    """The batch to try next, where memory ended; any other error is raised again, as is one of a single sample."""
    if batch_size == 1 or not is_out_of_memory(error):
        raise error
    torch.cuda.empty_cache()  # nothing where there is no CUDA
    return batch_size // 2


def is_out_of_memory(error: BaseException) -> bool:
    """Whether there was no memory for it, on whichever device; the CPU's allocator has no error of its own."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """The context for a precision in Lightning's words; ValueError for one that is not known here."""
    if precision not in AUTOCAST:
        raise ValueError(
            f"Expected `precision` to be known, but got {precision}: {choices(precision, list(AUTOCAST))}."
        )
    dtype = AUTOCAST[precision]
    return nullcontext() if dtype is None else torch.autocast(device.type, dtype=dtype)
