"""What kd-lab costs beside a hand-written loop, and beside plain Lightning: `python experiments/speed/benchmark.py`.

The job is the article's: a teacher MLP 784-128-128-10 on hard labels, then the same network on soft labels only; Adam
1e-3 (fused), 5 epochs each, batches of 128, learning rate eta_0 / (1 + eta_0 t / T), on 60,000 x 784 numbers.
Each contestant runs in a process of its own with the same number of threads; they take turns, round by round.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
CONTESTANTS = ("loop", "kd_lab", "lightning")
TRAIN, TEST, FEATURES, CLASSES = 60_000, 10_000, 784, 10
EPOCHS, BATCH, RATE = 5, 128, 1e-3
STEPS = EPOCHS * -(-TRAIN // BATCH)
PACKAGES = ("torch", "pytorch-lightning", "mlflow", "hydra-core", "numpy")


def main() -> None:
    """All rounds, a table on the console, everything in results.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--output", type=Path, default=HERE / "results.json")
    parser.add_argument("--contestant", choices=CONTESTANTS, help=argparse.SUPPRESS)
    parser.add_argument("--data", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contestant:
        found = RUN[options.contestant](options.data, options.threads[0])
        Path("result.json").write_text(json.dumps(found))
        return
    with tempfile.TemporaryDirectory(prefix="kd-lab-speed-") as folder:
        data = Path(folder) / "data.npz"
        write_data(data)
        results: dict[str, Any] = {"machine": machine(), "settings": {}}
        for threads in options.threads:
            rounds = [one_round(data, threads, number) for number in range(options.rounds)]
            results["settings"][f"{threads} threads"] = summary(rounds)
    options.output.write_text(json.dumps(results, indent=1) + "\n")
    print(table(results))


def write_data(path: Path) -> None:
    """Seeded noise around ten class means; about 1 point in 100 lies nearer to another mean."""
    import numpy as np

    random = np.random.default_rng(0)
    means = random.standard_normal((CLASSES, FEATURES), dtype=np.float32)
    y = random.integers(0, CLASSES, TRAIN + TEST)
    X = 8.0 * random.standard_normal((TRAIN + TEST, FEATURES), dtype=np.float32)
    X = (X + means[y]) / 8.0
    np.savez(path, X=X[:TRAIN], y=y[:TRAIN], X_test=X[TRAIN:], y_test=y[TRAIN:])


def machine() -> dict[str, str]:
    """Where and with what this was measured."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        cpu = next((x.split(":")[1].strip() for x in info.read_text().splitlines() if x.startswith("model name")), cpu)
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "cpu": cpu,
        "cores": str(os.cpu_count()),
        "system": platform.system(),
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
    }


def one_round(data: Path, threads: int, number: int) -> dict[str, Any]:
    """Each contestant once; another one begins in each round."""
    order = [CONTESTANTS[(number + i) % len(CONTESTANTS)] for i in range(len(CONTESTANTS))]
    found = {name: one_process(name, data, threads) for name in order}
    told = ", ".join(f"{name} {found[name]['train_s']:.2f} s" for name in CONTESTANTS)
    print(f"{threads} thread(s), round {number + 1}: {told}", flush=True)
    return found


def one_process(name: str, data: Path, threads: int) -> dict[str, float]:
    """One contestant in a fresh process and an empty folder, and how many cores others kept busy meanwhile."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    command = [sys.executable, str(Path(__file__).resolve()), "--contestant", name]
    command += ["--data", str(data), "--threads", str(threads)]
    with tempfile.TemporaryDirectory() as folder:
        busy, cpu, started = busy_seconds(), os.times(), time.perf_counter()
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        wall, cpu_after = time.perf_counter() - started, os.times()
        if done.returncode:
            raise SystemExit(f"{name} failed:\n{done.stdout}\n{done.stderr}")
        found: dict[str, float] = json.loads((Path(folder) / "result.json").read_text())
    own = sum(cpu_after[:4]) - sum(cpu[:4])
    found |= {"process_s": wall, "other_load_cores": max(0.0, (busy_seconds() - busy - own) / wall)}
    if "tracking_s" in found:
        found["tracking_share"] = found["tracking_s"] / wall
    return {key: round(value, 4) for key, value in found.items()}


def busy_seconds() -> float:
    """Seconds that all cores together were not idle (Linux; elsewhere 0: other load is then not known)."""
    stat = Path("/proc/stat")
    if not stat.exists():
        return 0.0
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, stat.read_text().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def summary(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Ratios to the loop of the same round, and their medians."""
    ratios = {
        name: [round(one[name]["train_s"] / one["loop"]["train_s"], 3) for one in rounds] for name in CONTESTANTS[1:]
    }
    return {
        "ratio_to_loop_median": {name: round(statistics.median(values), 3) for name, values in ratios.items()},
        "ratio_to_loop_per_round": ratios,
        "tracking_share_median": statistics.median(one["kd_lab"]["tracking_share"] for one in rounds),
        "rounds": rounds,
    }


def table(results: dict[str, Any]) -> str:
    """The medians as Markdown, for the README."""
    lines = [
        "| threads | contestant | training, s | us per step | ratio | per round | accuracy, % | other load |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for setting, found in results["settings"].items():
        for name in CONTESTANTS:
            rounds = [one[name] for one in found["rounds"]]
            middle = {key: statistics.median(one[key] for one in rounds) for key in rounds[0]}
            ratio = found["ratio_to_loop_median"].get(name, 1.0)
            each = " ".join(f"{x:.2f}" for x in found["ratio_to_loop_per_round"].get(name, [])) or "-"
            cells = [setting.split()[0], name, f"{middle['train_s']:.2f}", f"{1e6 * middle['train_s'] / 2 / STEPS:.0f}"]
            cells += [f"{ratio:.2f}", each, f"{100 * middle['accuracy']:.2f}", f"{middle['other_load_cores']:.2f}"]
            lines.append(f"| {' | '.join(cells)} |")
        share = found["tracking_share_median"]
        lines.append(f"\n{setting}: kd-lab spent {share:.1%} of its process's wall time in tracking calls.\n")
    return "\n".join(lines)


# The contestants. Each runs in a process of its own and says: train_s, seconds of both trainings from the first batch
# to the last; accuracy of the student on the test part.


def loop(data: Path, threads: int) -> dict[str, float]:
    """What one would write by hand, and write fast: sliced batches, fused Adam, nothing logged."""
    import torch
    from torch.nn import functional as F

    torch.set_num_threads(threads)
    X, y, X_test, y_test = tensors(data)

    def train(network: torch.nn.Module, teacher: torch.nn.Module | None) -> float:
        optimizer = torch.optim.Adam(network.parameters(), lr=RATE, fused=True)
        step, started = 0, time.perf_counter()
        for _ in range(EPOCHS):
            order = torch.randperm(len(X))
            for start in range(0, len(X), BATCH):
                rows = order[start : start + BATCH]
                inputs = X[rows]
                if teacher is None:
                    targets = y[rows]
                else:
                    with torch.no_grad():
                        targets = F.softmax(teacher(inputs), dim=-1)
                optimizer.param_groups[0]["lr"] = RATE / (1 + RATE * step / STEPS)
                loss = F.cross_entropy(network(inputs), targets)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                step += 1
        return time.perf_counter() - started

    torch.manual_seed(0)
    teacher, student = network(), network()
    teacher_s = train(teacher, None)
    teacher.eval().requires_grad_(False)
    student_s = train(student, teacher)
    return {
        "train_s": teacher_s + student_s,
        "teacher_s": teacher_s,
        "student_s": student_s,
        "accuracy": accuracy(student, X_test, y_test),
    }


def kd_lab(data: Path, threads: int) -> dict[str, float]:
    """The real command with everything it logs, measures and draws; the times are the ones it kept in MLflow."""
    from kd_lab.cli.main import _main  # not main, which leaves the process

    line = ["experiment=article", "dataset=arrays", f"dataset.path={data}", "dataset.validation=0", "baseline=false"]
    if _main([*line, f"trainer.threads={threads}", "tracking.uri=sqlite:///mlflow.db"]):
        raise SystemExit("kd-lab failed")
    from kd_lab import names
    from kd_lab.analysis.runs import runs

    rows = runs("article", "sqlite:///mlflow.db").set_index("role")
    teacher_s, student_s = (float(rows.loc[role, names.COST_TRAIN_WALL_S]) for role in (names.TEACHER, names.STUDENT))
    steps = rows[names.COST_TRAIN_STEPS].astype(int).tolist()
    if steps != [STEPS, STEPS]:
        raise RuntimeError(f"expected {STEPS} steps of teacher and student, got {steps}")
    return {
        "train_s": teacher_s + student_s,
        "teacher_s": teacher_s,
        "student_s": student_s,
        "accuracy": float(rows.loc[names.STUDENT, names.TEST_ACCURACY_TOP1]),
        "tracking_s": float(rows[names.COST_TRACKING_S].sum()),
    }


def lightning(data: Path, threads: int) -> dict[str, float]:
    """What Lightning's own introduction shows: DataLoader, automatic optimization, self.log, all else default."""
    import pytorch_lightning as pl
    import torch
    from pytorch_lightning.loggers import MLFlowLogger
    from torch.nn import functional as F
    from torch.utils.data import DataLoader, TensorDataset

    torch.set_num_threads(threads)
    X, y, X_test, y_test = tensors(data)

    class Module(pl.LightningModule):
        def __init__(self, trained: torch.nn.Module, teacher: torch.nn.Module | None) -> None:
            super().__init__()
            self.network, self.teacher, self.seconds = trained, teacher, 0.0

        def on_train_start(self) -> None:
            self.started = time.perf_counter()

        def on_train_end(self) -> None:
            self.seconds = time.perf_counter() - self.started

        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            inputs, targets = batch
            if self.teacher is not None:
                with torch.no_grad():
                    targets = F.softmax(self.teacher(inputs), dim=-1)
            loss = F.cross_entropy(self.network(inputs), targets)
            self.log("train_loss", loss)
            return loss

        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.Adam(self.network.parameters(), lr=RATE, fused=True)
            schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + RATE * step / STEPS))
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def train(trained: torch.nn.Module, teacher: torch.nn.Module | None) -> float:
        module = Module(trained, teacher)
        logger = MLFlowLogger(experiment_name="article", tracking_uri="sqlite:///lightning.db")
        loader = DataLoader(TensorDataset(X, y), batch_size=BATCH, shuffle=True)
        pl.Trainer(accelerator="cpu", devices=1, max_epochs=EPOCHS, logger=logger).fit(module, loader)
        return module.seconds

    torch.manual_seed(0)
    teacher, student = network(), network()
    teacher_s = train(teacher, None)
    teacher.eval().requires_grad_(False)
    student_s = train(student, teacher)
    return {
        "train_s": teacher_s + student_s,
        "teacher_s": teacher_s,
        "student_s": student_s,
        "accuracy": accuracy(student.eval(), X_test, y_test),
    }


def network() -> Any:
    """784-128-128-10."""
    from torch import nn

    hidden = (nn.Linear(FEATURES, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU())
    return nn.Sequential(*hidden, nn.Linear(128, CLASSES))


def tensors(data: Path) -> tuple[Any, ...]:
    """X, y, X_test, y_test."""
    import numpy as np
    import torch

    with np.load(data) as arrays:
        return tuple(torch.from_numpy(arrays[name]) for name in ("X", "y", "X_test", "y_test"))


def accuracy(trained: Any, X: Any, y: Any) -> float:
    """The fraction that is right."""
    import torch

    with torch.inference_mode():
        return float((trained(X).argmax(-1) == y).double().mean())


RUN: dict[str, Callable[[Path, int], dict[str, float]]] = {"loop": loop, "kd_lab": kd_lab, "lightning": lightning}

if __name__ == "__main__":
    main()
