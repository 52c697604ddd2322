"""How long `kd-lab compare` takes over 10,000 runs, from SQLite and from an MLflow server on this machine.

`python experiments/speed/compare.py` runs one small real job and copies its rows with SQL: 10 losses x 10 temperatures
x 10 weights x 10 seeds, each student with its own accuracy; so every run has the parameters, metrics and tags of a
real one. Then the command itself, each time in a process of its own.
"""

import argparse
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import psutil

KD_LAB = [sys.executable, "-c", "from kd_lab.cli.main import main; main()"]
JOB = ["dataset=synthetic", "student.recipe.steps=60", "teacher=mlp", "teacher.recipe.steps=30", "study=speed"]
LOSSES = ("kd", "dkd", "dist", "nkd", "jsd", "reverse_kl", "skew_kl", "tvd", "wsld", "ttm")
TEMPERATURES = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 12.0, 20.0)
WEIGHTS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
SEEDS = range(10)
PER_RUN = ("params", "tags", "latest_metrics")


def main() -> None:
    """Make the store where it is not there, time the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where the store is kept, for a second time; by default nowhere")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=4, help="of the server; four is MLflow's own choice")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kd-lab-compare-") as scratch:
        folder = options.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "mlflow.db").exists():
            subprocess.run([*KD_LAB, *JOB], cwd=folder, check=True, stdout=subprocess.DEVNULL)
            multiply(folder / "mlflow.db")
        print(contents(folder / "mlflow.db"))
        tell("SQLite", folder, "sqlite:///mlflow.db", options.rounds)
        with server(folder, options.workers) as (uri, cpu_s):
            tell(f"MLflow server, {options.workers} workers", folder, uri, options.rounds, cpu_s)


def tell(what: str, folder: Path, uri: str, rounds: int, of_server: Callable[[], float] = lambda: 0.0) -> None:
    """The time of the whole command, the interpreter's start included: on the clock, and of the processor."""
    for _ in range(rounds):
        started, before, server_before = time.perf_counter(), os.times(), of_server()
        command = [*KD_LAB, "compare", "speed", f"tracking.uri={uri}"]
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        wall, after = time.perf_counter() - started, os.times()
        cpu = after.children_user + after.children_system - before.children_user - before.children_system
        served = f", the server's {of_server() - server_before:.1f} s" if uri.startswith("http") else ""
        print(f"{what}: {wall:.1f} s; processor {cpu:.1f} s{served}; load {os.getloadavg()[0]:.1f}", flush=True)


def multiply(database: Path) -> None:
    """Copies of the job's student and baseline; the student's accuracy depends on loss, temperature and seed."""
    noise = np.random.default_rng(0)
    with closing(sqlite3.connect(database)) as connection, connection:
        run_of = {role: run for run, role in connection.execute("SELECT run_uuid, value FROM tags WHERE key = 'role'")}
        baselines = {seed: f"b{seed:031x}" for seed in SEEDS}
        for seed, new in baselines.items():
            accuracy = 0.80 + 0.01 * float(noise.standard_normal())
            copy(
                connection,
                run_of["baseline"],
                new,
                {"params.seed": seed, "latest_metrics.test/accuracy_top1": accuracy},
            )
        number = 0
        for loss in LOSSES:
            for temperature in TEMPERATURES:
                for weight in WEIGHTS:
                    for seed in SEEDS:
                        number += 1
                        accuracy = 0.82 + 0.002 * LOSSES.index(loss) - 0.001 * temperature
                        changes = {
                            "params.seed": seed,
                            "params.loss_name": loss,
                            "params.loss.terms.kd.temperature": temperature,
                            "params.loss.terms.kd.weight": weight,
                            "tags.kd_lab.baseline_run": baselines[seed],
                            "latest_metrics.test/accuracy_top1": accuracy + 0.01 * float(noise.standard_normal()),
                        }
                        copy(connection, run_of["student"], f"c{number:031x}", changes, loss)
        for role in ("student", "baseline"):
            connection.execute("UPDATE runs SET lifecycle_stage = 'deleted' WHERE run_uuid = ?", (run_of[role],))


def copy(connection: sqlite3.Connection, run: str, new: str, changes: dict[str, object], loss: str = "kd") -> None:
    """One run once more, some of its values changed."""
    columns = [row[1] for row in connection.execute("PRAGMA table_info(runs)")]
    others = ", ".join(name for name in columns if name not in {"run_uuid", "start_time"})
    later_ms = 5000 * connection.execute("SELECT COUNT(*) FROM runs").fetchone()[0]
    connection.execute(
        f"INSERT INTO runs (run_uuid, start_time, {others}) SELECT ?, start_time + ?, {others} FROM runs "
        "WHERE run_uuid = ?",
        (new, later_ms, run),
    )
    for table in PER_RUN:
        columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
        rows = connection.execute(f"SELECT {', '.join(columns)} FROM {table} WHERE run_uuid = ?", (run,)).fetchall()
        changed = []
        for row in rows:
            found = dict(zip(columns, row, strict=True)) | {"run_uuid": new}
            value = changes.get(f"{table}.{found['key']}", found["value"])
            found["value"] = value if table == "latest_metrics" else str(value)
            found["key"] = str(found["key"]).replace("terms.kd.", f"terms.{loss}.")
            changed.append(list(found.values()))
        marks = ", ".join("?" * len(columns))
        connection.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", changed)


def contents(database: Path) -> str:
    """How much there is to read."""
    with closing(sqlite3.connect(database)) as connection:
        counts = {t: connection.execute(f"SELECT COUNT(*) FROM {t}").fetchone()[0] for t in ("runs", *PER_RUN)}
    return ", ".join(f"{count:,} {table}" for table, count in counts.items())


@contextmanager
def server(folder: Path, workers: int) -> Iterator[tuple[str, Callable[[], float]]]:
    """An MLflow server on the same store: its address, and how many processor seconds it has used."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", str(workers)]
    command += ["--backend-store-uri", "sqlite:///mlflow.db"]
    environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, env=environment, start_new_session=True)
    root = psutil.Process(process.pid)

    def cpu_s() -> float:
        times = [one.cpu_times() for one in (root, *root.children(recursive=True))]
        return sum(one.user + one.system for one in times)

    try:
        for _ in range(240):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1).close()
                break
            except OSError:
                time.sleep(0.5)
        yield f"http://127.0.0.1:{port}", cpu_s
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # it only read
        process.wait()


if __name__ == "__main__":
    main()
