"""What a sweep over one teacher costs beyond its trainings: `python experiments/speed/sweep.py`.

The demo at four temperatures and eight seeds, one job at a time: 32 students, 8 baselines, one teacher. With --beside,
jobs of the first seed are run once more with a teacher that answers in every step, in a store of their own.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmark import busy_seconds, machine

HERE = Path(__file__).parent
COMMAND = "from kd_lab.cli.main import main; main()"


def main() -> None:
    """Run, print, and keep everything in sweep.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--temperatures", type=float, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--beside", action="store_true")
    parser.add_argument("--output", type=Path, default=HERE / "sweep.json")
    options = parser.parse_args()
    found: dict[str, Any] = {"machine": machine()}
    found["kept"] = swept(options.temperatures, options.seeds)
    if options.beside:
        found["asked in every step"] = swept(options.temperatures, 1, "teacher.cache=off")
    options.output.write_text(json.dumps(found, indent=1) + "\n")
    for how, one in found.items():
        if how != "machine":
            print(f"{how}: {', '.join(f'{key} {value:g}' for key, value in one.items())}")


def swept(temperatures: list[float], seeds: int, *more: str) -> dict[str, float]:
    """One sweep in an empty folder, seen from outside and from what its runs kept.

    A later job is one whose teacher and baseline are found: from the start of its student to the start of the next one.
    """
    from kd_lab import names
    from kd_lab.analysis.runs import runs

    grid = [f"loss.temperature={','.join(map(str, temperatures))}", f"seed={','.join(map(str, range(seeds)))}"]
    with tempfile.TemporaryDirectory() as folder:
        busy, started = busy_seconds(), time.perf_counter()
        command = [sys.executable, "-c", COMMAND, "-m", *grid, "sweep.jobs=1", "study=speed", *more]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        wall = time.perf_counter() - started
        if done.returncode:
            raise SystemExit(f"kd-lab failed:\n{done.stdout}\n{done.stderr}")
        table = runs("speed", f"sqlite:///{folder}/mlflow.db")
        trained = table.groupby("role")[names.COST_TRAIN_WALL_S].agg(["sum", "median", "count"])
        jobs = int(trained.loc[names.STUDENT, "count"])
        students = table[table.role == names.STUDENT].sort_values("start_time").tail(jobs - seeds)
        apart = students.start_time.diff().dt.total_seconds() - students[names.COST_TRAIN_WALL_S].shift()
        return {
            "jobs": jobs,
            "wall_s": round(wall, 2),
            "training_s": round(float(trained["sum"].sum()), 2),
            "beyond_training_s_per_job": round((wall - float(trained["sum"].sum())) / jobs, 3),
            "beyond_training_s_of_a_later_job": round(float(apart.median()), 3),
            "student_s": round(float(trained.loc[names.STUDENT, "median"]), 3),
            "baseline_s": round(float(trained.loc[names.BASELINE, "median"]), 3),
            "teacher_s": round(float(trained.loc[names.TEACHER, "median"]), 2),
            "accuracy_mean": round(float(table[table.role == names.STUDENT][names.TEST_ACCURACY_TOP1].mean()), 4),
            "busy_cores": round((busy_seconds() - busy) / wall, 2),
        }


if __name__ == "__main__":
    main()
