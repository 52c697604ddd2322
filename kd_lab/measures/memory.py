"""Peak memory while something runs."""

import sys
from pathlib import Path
from types import TracebackType

import torch

from kd_lab import names
from kd_lab.types import Measurement


class PeakMemory:
    """A context manager: `with PeakMemory("cpu") as memory: ...`, then `memory.peak_bytes`.

    CUDA: the most that tensors held on the device. CPU: the peak resident set of the whole process, interpreter and
    libraries included. Where the system cannot reset that peak (all but Linux), it is the peak since the process
    began. It does not nest: an inner one resets the outer one's peak.

    Args:
        device: the device whose memory counts.
    """

    def __init__(self, device: torch.device | str) -> None:
        self.device = torch.device(device)
        self.peak_bytes = 0

    def __enter__(self) -> "PeakMemory":
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        else:
            _reset_peak_rss()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.device.type == "cuda":
            self.peak_bytes = torch.cuda.max_memory_allocated(self.device)
        else:
            self.peak_bytes = peak_rss_bytes()

    @property
    def measurement(self) -> Measurement:
        """The peak in bytes under its key."""
        return {names.COST_TRAIN_PEAK_MEMORY_BYTES: float(self.peak_bytes)}


def _reset_peak_rss() -> None:
    """Linux: writing 5 sets VmHWM to the present resident set (proc_pid_clear_refs, man 5)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        # Another system, or a container that forbids it: the peak then counts from the start of the process.
        return


def peak_rss_bytes() -> int:
    """The peak resident set of this process, in bytes, since its start or the last reset."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    if sys.platform == "win32":
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # macOS counts bytes, the others kibibytes.
    return peak if sys.platform == "darwin" else peak * 1024
