"""What distilling a pair of CNNs costs in kd-lab beside a plain loop: `python experiments/speed/pair.py`.

resnet32x4 -> resnet8x4 at 32 x 32, 100 classes, batch 64, KD at T = 4 with hard labels, SGD with momentum; random
images, random weights. Every contestant runs in a process of its own, takes its steps over the same few batches, and
says how long a step takes after the first ones; they take turns, round by round. `plain` asks the teacher in each step.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmark import machine

HERE = Path(__file__).parent
SAMPLES, BATCH, CLASSES, RATE, T = 128, 64, 100, 0.05, 4.0
SHAPE, WIDTHS = (3, 32, 32), (32, 64, 128, 256)
OFF = ["teacher.cache=off"]
BF16 = ["student.recipe.precision=bf16-mixed"]
LAST = ["student.recipe.channels_last=true"]
COMPILED = ["student.recipe.compile=true"]
KD_LAB = {
    "kd-lab": OFF,
    "kd-lab, kept": [],
    "kd-lab, kept, channels last": LAST,
    "kd-lab, kept, compiled": COMPILED,
}
LOOPS: dict[str, dict[str, bool]] = {
    "plain loop": {},
    "loop, kept": {"kept": True},
    "loop, kept, channels last": {"kept": True, "last": True},
}
WITH_BF16 = {  # for processors that multiply bfloat16 themselves; others take several times as long
    "kd-lab, kept, bf16": BF16,
    "kd-lab, kept, bf16, channels last": [*BF16, *LAST],
    "kd-lab, kept, bf16, channels last, compiled": [*BF16, *LAST, *COMPILED],
}
LOOPS_WITH_BF16 = {"loop, kept, bf16, channels last": {"kept": True, "bf16": True, "last": True}}


def main() -> None:
    """All rounds, a table on the console, everything in pair.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--output", type=Path, default=HERE / "pair.json")
    parser.add_argument("--contestant", help=argparse.SUPPRESS)
    options = parser.parse_args()
    loops = LOOPS | (LOOPS_WITH_BF16 if options.bf16 else {})
    contestants = [*loops, *KD_LAB, *(WITH_BF16 if options.bf16 else {})]
    if options.contestant:
        name = options.contestant
        in_hand, ours = LOOPS | LOOPS_WITH_BF16, KD_LAB | WITH_BF16
        found = in_loop(options.steps, **in_hand[name]) if name in in_hand else in_kd_lab(options.steps, ours[name])
        print(json.dumps(found))
        return
    rounds: list[dict[str, Any]] = []
    for number in range(options.rounds):
        order = contestants[number % len(contestants) :] + contestants[: number % len(contestants)]
        rounds.append({name: alone(name, options.steps) for name in order})
        told = ", ".join(f"{name} {rounds[-1][name]['step_s']:.2f} s" for name in order)
        print(f"round {number + 1}: {told}", flush=True)
    options.output.write_text(json.dumps({"machine": machine(), "rounds": rounds}, indent=1) + "\n")
    print("| contestant | step, s | speed beside the plain loop | per round | loss at the end |")
    print("| --- | --- | --- | --- | --- |")
    for name in contestants:
        ratios = [one["plain loop"]["step_s"] / one[name]["step_s"] for one in rounds]
        step, each = statistics.median(one[name]["step_s"] for one in rounds), " ".join(f"{r:.2f}" for r in ratios)
        print(f"| {name} | {step:.2f} | {statistics.median(ratios):.2f} | {each} | {rounds[0][name]['loss']:.4f} |")


def alone(name: str, steps: int) -> dict[str, float]:
    """One contestant in a fresh process and an empty folder."""
    command = [sys.executable, str(Path(__file__).resolve()), "--contestant", name, "--steps", str(steps)]
    paths = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"PYTHONPATH": paths}
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stdout}\n{done.stderr}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def images() -> tuple[Any, Any]:
    """[N, 3, 32, 32] float32 and labels [N]."""
    import numpy as np

    random = np.random.default_rng(0)
    return random.standard_normal((SAMPLES, 3, 32, 32), dtype=np.float32), np.arange(SAMPLES) % CLASSES


def in_loop(steps: int, *, kept: bool = False, bf16: bool = False, last: bool = False) -> dict[str, float]:
    """What one would write by hand."""
    import torch
    from torch.nn import functional as F

    from kd_lab.models.resnet import ResNet

    X, y = map(torch.from_numpy, images())
    torch.manual_seed(0)
    teacher = ResNet(CLASSES, SHAPE, depth=32, channels=WIDTHS).eval().requires_grad_(False)
    student = ResNet(CLASSES, SHAPE, depth=8, channels=WIDTHS)
    if last:
        student.to(memory_format=torch.channels_last)
    answers = torch.empty(0)
    if kept:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            answers = torch.cat([teacher(part) for part in X.split(BATCH)])
    optimizer = torch.optim.SGD(student.parameters(), lr=RATE, momentum=0.9)
    times, loss = [], torch.zeros(())
    for step in range(steps):
        began = time.perf_counter()
        rows = slice(step * BATCH % SAMPLES, step * BATCH % SAMPLES + BATCH)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            said = student(X[rows])
            with torch.no_grad():
                taught = answers[rows] if kept else teacher(X[rows])
        soft = F.kl_div(
            F.log_softmax(said.float() / T, 1),
            F.log_softmax(taught.float() / T, 1),
            reduction="batchmean",
            log_target=True,
        )
        loss = F.cross_entropy(said.float(), y[rows]) + T * T * soft
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        times.append(time.perf_counter() - began)
    return {"step_s": statistics.median(times[2:]), "loss": float(loss.detach())}


def in_kd_lab(steps: int, overrides: list[str]) -> dict[str, float]:
    """The real command; the steps are timed by a loss that looks at the clock, which changes nothing else."""
    import numpy as np

    from kd_lab.cli.main import _main

    X, y = images()
    np.savez("data.npz", X=X, y=y, X_test=X[:32], y_test=y[:32])
    clock = Clock()
    with clock:
        code = _main(
            [
                *("dataset=arrays", "dataset.path=data.npz", "dataset.validation=0", "dataset.standardize=false"),
                *("teacher=resnet32x4", "teacher.recipe.steps=1", "student=resnet8x4"),
                *(f"student.recipe.steps={steps}", f"student.recipe.batch_size={BATCH}"),
                *("student/recipe/optimizer=sgd", f"student.recipe.optimizer.lr={RATE}", "baseline=false"),
                *(
                    "loss=kd",
                    f"loss.temperature={T}",
                    "loss.weight=1",
                    "loss.hard_weight=1",
                    "tracking.every_n_steps=1",
                ),
                *("measure.latency_runs=1", "measure.latency_warmup=1", "measure.throughput_batch=1"),
                *overrides,
            ]
        )
    if code:
        raise SystemExit("kd-lab failed")
    from kd_lab import names
    from kd_lab.analysis.runs import runs

    rows = runs("arrays", "sqlite:///mlflow.db").set_index("role")
    return {
        "step_s": statistics.median(clock.times[-steps:][2:]),
        "loss": float(rows.loc["student", names.TRAIN_LOSS_TOTAL]),
    }


class Clock:
    """Notes how long every optimizer step took, from the end of the one before."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def __enter__(self) -> "Clock":
        from kd_lab.training.callbacks.cost import Cost

        self._before = before = Cost.after_batch
        self._at = time.perf_counter()

        def after_batch(cost: Any, *arguments: Any) -> None:
            now = time.perf_counter()
            self.times.append(now - self._at)
            self._at = now
            before(cost, *arguments)

        Cost.after_batch = after_batch  # type: ignore[method-assign]
        return self

    def __exit__(self, *_: object) -> None:
        from kd_lab.training.callbacks.cost import Cost

        Cost.after_batch = self._before  # type: ignore[method-assign]


if __name__ == "__main__":
    main()
