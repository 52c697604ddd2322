"""What every loss costs beside plain kd: `python experiments/speed/losses.py`.

Losses of logits see 256 x 1000 (ImageNet's classes), losses of layers the shapes of resnet32x4 -> resnet8x4 on
CIFAR-100 at batch 64: stages [64, 32, 32], [128, 16, 16], [256, 8, 8], a vector of 256, 100 classes. One call is the
loss and its backward pass to the student's outputs and the loss's own parts. Loss and kd take turns, round by round,
in one process; a ratio is the median over the rounds of the loss's time by kd's in the same round. kd has the logits
of the same batch.

Memory is the peak of what lives beside the inputs: on a GPU what the allocator says, on the CPU the tensors that are
alive (every result of every operation, counted by a dispatch mode; workspace inside an operation is not seen).
"""

import argparse
import inspect
import json
import statistics
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import yaml
from benchmark import machine
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from kd_lab.job.build import build, locate
from kd_lab.job.catalogue import choices_of, conf_dir
from kd_lab.losses.common.loss import Loss
from kd_lab.types import Batch, Outputs

HERE = Path(__file__).parent
STAGES = ((64, 32, 32), (128, 16, 16), (256, 8, 8))
SHAPES = {"embedding": ((256,),), "stages": STAGES, "hint": STAGES[1:2], "last": STAGES[2:], "pooled": STAGES[2:]}
SAMPLES = 50_000
AT_LEAST_S = 0.1
NOT_OF_THE_LOSS = ("weight", "hard_weight", "schedules", "strong")


def main() -> None:
    """All losses, a table on the console, everything in losses.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--only", nargs="+", help="names of losses")
    parser.add_argument("--output", type=Path, default=HERE / "losses.json")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    names = options.only or [name for name in choices_of("loss") if name not in ("none", "custom")]
    found = {name: measured(name, options.rounds, options.device) for name in names}
    told = machine() | {"device": device_name(options.device), "threads": str(options.threads)}
    options.output.write_text(json.dumps({"machine": told, "losses": found}, indent=1) + "\n")
    print(table(found))


def measured(name: str, rounds: int, device: str) -> dict[str, Any]:
    """One loss beside kd."""
    layers = class_of(name)[0].layers is not None
    rows, classes = (64, 100) if layers else (256, 1000)
    call, own = caller(name, rows, classes, device)
    kd, _ = caller("kd", rows, classes, device)
    ratios, seconds = [], []
    repeats = {one: count(one, device) for one in (call, kd)}
    for _ in range(rounds):
        times = {one: timed(one, repeats[one], device) for one in (kd, call)}
        ratios.append(times[call] / times[kd])
        seconds.append(times[call])
    found = {
        "compares": "layers" if layers else "logits",
        "own_parameters": own,
        "ratio_to_kd": round(statistics.median(ratios), 2),
        "ratio_per_round": [round(r, 2) for r in ratios],
        "us": round(1e6 * statistics.median(seconds), 1),
        "peak_kib": round(peak(call, device) / 1024, 1),
        "kd_peak_kib": round(peak(kd, device) / 1024, 1),
    }
    print(f"{name}: {found['ratio_to_kd']} x kd, {found['us']} us, {found['peak_kib']} KiB", flush=True)
    return found


def class_of(name: str) -> tuple[type[Loss], dict[str, Any]]:
    """The loss's class, and the arguments in its YAML."""
    content = yaml.safe_load((conf_dir() / "loss" / f"{name}.yaml").read_text())
    kind: Any = locate(name, content["_target_"])
    return kind, {k: v for k, v in content.items() if k not in NOT_OF_THE_LOSS}


def caller(name: str, rows: int, classes: int, device: str) -> tuple[Callable[[], None], int]:
    """A function that runs loss and backward once, and how many numbers the loss trains."""
    kind, node = class_of(name)
    torch.manual_seed(0)
    shapes = SHAPES.get(kind.layers or "", ())
    targets = torch.arange(SAMPLES) % classes
    given: dict[str, Any] = {
        "student_shapes": shapes,
        "teacher_shapes": shapes,
        "num_classes": classes,
        "num_samples": SAMPLES,
        "targets": targets,
        "student_head": nn.Linear(256, classes).to(device),
        "teacher_head": nn.Linear(256, classes).to(device),
        "teacher_norms": tuple(nn.BatchNorm2d(shape[0]).to(device) for shape in shapes),
        "strong": None,
    }
    wanted = inspect.signature(kind).parameters
    loss: Loss = build(name, node, {k: v for k, v in given.items() if k in wanted}).to(device)
    student, teacher = outputs(kind, rows, classes, device), outputs(kind, rows, classes, device)
    leaves = [student.logits, *student.features, *student.views]
    for leaf in leaves:
        leaf.requires_grad_()
    index = torch.arange(rows, device=device)
    batch = Batch(torch.zeros(rows, 1, device=device), targets[:rows].to(device), index)
    parts = [p for p in loss.parameters() if p.requires_grad]

    def once() -> None:
        for leaf in (*leaves, *parts):
            leaf.grad = None
        loss(student, teacher, batch).backward()

    return once, sum(p.numel() for p in parts)


def outputs(kind: type[Loss], rows: int, classes: int, device: str) -> Outputs:
    """Noise."""
    features = tuple(torch.randn(rows, *shape, device=device) for shape in SHAPES.get(kind.layers or "", ()))
    views = (torch.randn(rows, classes, device=device),) if "strong" in inspect.signature(kind).parameters else ()
    return Outputs(3 * torch.randn(rows, classes, device=device), features, views)


def count(once: Callable[[], None], device: str) -> int:
    """How many calls take AT_LEAST_S; the first ones warm up."""
    for _ in range(3):
        once()
    return max(1, round(AT_LEAST_S / timed(once, 3, device)))


def timed(once: Callable[[], None], repeats: int, device: str) -> float:
    """Seconds of one call."""
    wait(device)
    started = time.perf_counter()
    for _ in range(repeats):
        once()
    wait(device)
    return (time.perf_counter() - started) / repeats


def wait(device: str) -> None:
    """Let the device finish."""
    if device == "cuda":
        torch.cuda.synchronize()


def peak(once: Callable[[], None], device: str) -> float:
    """Bytes alive at the most during one call, beyond those before it."""
    once()
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        once()
        return float(torch.cuda.max_memory_allocated() - before)
    with Alive() as alive:
        once()
    return float(alive.most)


class Alive(TorchDispatchMode):
    """Counts the bytes of the storages that operations made and that still live."""

    def __init__(self) -> None:
        super().__init__()
        self.now, self.most = 0, 0
        self.seen: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        given = {storage(t) for t in torch.utils._pytree.tree_leaves((args, kwargs)) if isinstance(t, Tensor)}
        for tensor in torch.utils._pytree.tree_leaves(result):
            if isinstance(tensor, Tensor) and storage(tensor) not in given | self.seen:
                self.count(tensor.untyped_storage())
        return result

    def count(self, kept: Any) -> None:
        """From now until the storage is freed."""
        key, size = kept._cdata, kept.nbytes()
        self.seen.add(key)
        self.now += size
        self.most = max(self.most, self.now)
        weakref.finalize(kept, self.freed, key, size)

    def freed(self, key: int, size: int) -> None:
        """A storage is gone."""
        self.seen.discard(key)
        self.now -= size


def storage(tensor: Tensor) -> int:
    """What identifies the memory behind a tensor."""
    return int(tensor.untyped_storage()._cdata)


def device_name(device: str) -> str:
    """As its maker calls it."""
    return torch.cuda.get_device_name() if device == "cuda" else "cpu"


def table(found: dict[str, dict[str, Any]]) -> str:
    """Markdown, for the README: losses of logits, then of layers, cheapest first."""
    lines = [
        "| loss | compares | time / kd | time, us | peak memory, KiB | own parameters |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, one in sorted(found.items(), key=lambda item: (item[1]["compares"] == "layers", item[1]["ratio_to_kd"])):
        cells = [name, one["compares"], f"{one['ratio_to_kd']:.2f}", f"{one['us']:,.0f}", f"{one['peak_kib']:,.0f}"]
        cells.append(f"{one['own_parameters']:,}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
