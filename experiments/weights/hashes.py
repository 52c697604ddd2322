"""The sha256 of every weight that a fixed set of jobs trains: a change of shape prints the same lines as before it.

    python experiments/weights/hashes.py > before.txt      # at the commit before
    python experiments/weights/hashes.py > after.txt       # at the commit after
    diff before.txt after.txt

What follows the command is given to every job: `hashes.py teacher.cache=off` asks the teacher at every step.

One thread, the CPU, a store in a folder of its own. The lines are those of one machine and one version of torch:
another processor may round otherwise, so they are compared and not kept. Of another checkout than the one that is
installed: PYTHONPATH=FOLDER in front.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from mlflow import MlflowClient

CNNS = ["teacher=cnn", "student=cnn", "student.channels=[8,16]", "tuned/loss=none"]
SHORT = ["teacher.recipe.steps=100", "student.recipe.steps=150"]
TWO = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"]
JOBS = {
    "article": ["experiment=article", "dataset=synthetic"],
    "digits": [],
    "at": ["loss=at", *CNNS, *SHORT],
    "crd": ["loss=crd", *CNNS, *SHORT],
    "mlld": ["loss=mlld", *CNNS, *SHORT],
    "simkd": ["loss=simkd", *CNNS, *SHORT],
    "ddp": ["dataset=synthetic", "teacher=mlp", *SHORT, *TWO],
}
QUICK = ["measure.latency_runs=1", "measure.latency_warmup=1", "dataset.validation=0"]
COMMAND = "from kd_lab.cli.main import main; main()"


def main() -> None:
    """One line for each network: job, role, hash of its weights, accuracy."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONSAFEPATH": "1"}
    for name, overrides in JOBS.items():
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-c", COMMAND, *overrides, *QUICK, *sys.argv[1:], "study=weights"]
            done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
            if done.returncode:
                sys.exit(f"{name}: {done.stderr}")
            client = MlflowClient(f"sqlite:///{Path(folder, 'mlflow.db')}")
            study = client.get_experiment_by_name("weights")
            assert study is not None
            for run in client.search_runs([study.experiment_id], order_by=["attributes.start_time ASC"]):
                sha256, accuracy = run.data.tags["kd_lab.weights_sha256"], run.data.metrics["test/accuracy_top1"]
                print(f"{name:8} {run.data.tags['role']:9} {sha256} {accuracy:.4f}", flush=True)


if __name__ == "__main__":
    main()
