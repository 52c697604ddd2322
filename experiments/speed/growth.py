"""How the cost of a job grows with its sizes: `python experiments/speed/growth.py`.

One thing at a time grows, all else stays: numbers of 64 features made by the script, teacher MLP 64-256, student MLP
64-32, no baseline, 1000 steps of 64 samples each, one thread. Every job is the whole command in a process of its own,
once with a teacher that is asked once and once with one that answers in every step; then sweeps of 2, 4, 8 and 16 jobs.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from benchmark import machine

HERE = Path(__file__).parent
COMMAND = "from kd_lab.cli.main import main; main()"
STEPS, FEATURES = 1000, 64
BASE = {"samples": 10_000, "classes": 10, "teacher's width": 256, "threads": 1, "jobs": 1}
GROWS: dict[str, Sequence[int]] = {
    "samples": (1_000, 10_000, 100_000, 1_000_000),
    "classes": (10, 100, 1000),
    "teacher's width": (64, 256, 1024, 4096),
    "threads": (1, 2),
    "jobs": (1, 2, 4, 8, 16),
}


def main() -> None:
    """Run all, print the table, keep growth.json and growth.svg."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=HERE / "growth.json")
    options = parser.parse_args()
    rows = []
    print("| what grows | to | student, s | ... asked in every step | asking, s | kept, MiB | peak, MiB | a job, s |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for what, sizes in GROWS.items():
        for size in sizes:
            settings = BASE | {what: size}
            row = {"grows": what, "to": size, "kept": job(settings, "auto")}
            if what != "jobs":
                row["asked in every step"] = job(settings, "off")
            rows.append(row)
            print(line(row), flush=True)
    options.output.write_text(json.dumps({"machine": machine(), "base": BASE, "rows": rows}, indent=1) + "\n")
    drawn(rows, options.output.with_suffix(".svg"))


def job(settings: dict[str, int], cache: str) -> dict[str, float]:
    """The command, and what its runs and its folder kept."""
    from kd_lab import names
    from kd_lab.analysis.runs import runs

    with tempfile.TemporaryDirectory(prefix="kd-lab-growth-") as folder:
        data = Path(folder) / "data.npz"
        written(data, settings["samples"], settings["classes"])
        command = [sys.executable, "-c", COMMAND, "dataset=arrays", f"dataset.path={data}", "study=growth"]
        width = settings["teacher's width"]
        command += ["teacher=mlp", f"teacher.widths=[{width}]", "student=mlp", "baseline=false"]
        command += [f"{role}.recipe.steps={STEPS}" for role in ("teacher", "student")]
        command += [f"{role}.recipe.batch_size=64" for role in ("teacher", "student")]
        command += ["teacher.recipe.augment=false", f"teacher.cache={cache}", "dataset.validation=0"]
        if settings["jobs"] > 1:
            command += ["-m", f"seed={','.join(map(str, range(settings['jobs'])))}"]
        started = time.perf_counter()
        threads = {"OMP_NUM_THREADS": str(settings["threads"])}
        done = subprocess.run(
            command, cwd=folder, env=os.environ | threads, capture_output=True, text=True, check=False
        )
        wall = time.perf_counter() - started
        if done.returncode:
            raise SystemExit(f"kd-lab failed:\n{done.stdout}\n{done.stderr}")
        table = runs("growth", f"sqlite:///{folder}/mlflow.db")
        students = table[table.role == names.STUDENT]
        trained = float(students[names.COST_TRAIN_WALL_S].mean())
        asking = students[names.COST_TRAIN_ASKING_S].max() if names.COST_TRAIN_ASKING_S in students else 0.0
        kept = sum(file.stat().st_size for file in Path(folder, "mlflow.db.answers").rglob("*.safetensors"))
        return {
            "wall_s": round(wall, 2),
            "wall_s_per_job": round(wall / settings["jobs"], 2),
            "student_s": round(trained, 3),
            "asking_s": round(float(asking), 3),
            "kept_mib": round(kept / 2**20, 2),
            "peak_mib": round(float(students[names.COST_TRAIN_PEAK_MEMORY_BYTES].max()) / 2**20),
        }


def written(path: Path, samples: int, classes: int) -> None:
    """Points around the means of classes, and a test of 2,000."""
    random = np.random.default_rng(0)
    means = random.standard_normal((classes, FEATURES), dtype=np.float32)
    y = np.arange(samples + 2000) % classes
    X = means[y] + random.standard_normal((len(y), FEATURES), dtype=np.float32)
    np.savez(path, X=X[:samples], y=y[:samples], X_test=X[samples:], y_test=y[samples:])


def line(row: dict[str, Any]) -> str:
    """A row of the table, as Markdown."""
    kept, asked = row["kept"], row.get("asked in every step", {})
    cells = [row["grows"], f"{row['to']:,}", f"{kept['student_s']:.2f}", f"{asked['student_s']:.2f}" if asked else "-"]
    cells += [f"{kept['asking_s']:.2f}", f"{kept['kept_mib']:.1f}", f"{kept['peak_mib']:,.0f}"]
    cells += [f"{kept['wall_s_per_job']:.1f}"]
    return f"| {' | '.join(cells)} |"


def drawn(rows: list[dict[str, Any]], path: Path) -> None:
    """A panel for each thing that grows."""
    import matplotlib.pyplot as plt

    plt.rcParams["svg.hashsalt"] = "kd-lab"
    figure, panels = plt.subplots(1, len(GROWS), figsize=(14, 3.2), sharey=True, layout="constrained")
    for panel, (what, sizes) in zip(panels, GROWS.items(), strict=True):
        own = [row for row in rows if row["grows"] == what]
        for how, key, style in (
            ("kept", "wall_s_per_job", "^:C2"),
            ("asked in every step", "student_s", "s--C1"),
            ("kept", "student_s", "o-C0"),
        ):
            if all(how in row for row in own):
                label = "whole command, a job" if key == "wall_s_per_job" else f"student's training, {how}"
                panel.plot(sizes, [row[how][key] for row in own], style, label=label)
        panel.set(xlabel=what, xscale="log")
        panel.set_xticks(sizes, [f"{size:,}" for size in sizes], rotation=30)
        panel.minorticks_off()
    panels[0].set_ylabel("seconds")
    panels[0].set_ylim(bottom=0)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
