"""Attacks on who runs kd-lab in a folder, or reads runs, that somebody else made: each was done once, and ran code."""

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pytest
import yaml
from mlflow.entities import Run

from kd_lab import names
from kd_lab.errors import UserError
from tests.integration.processes import COMMAND, SMALL, artifact, the_run
from tests.store.servers import Proxy, Server, answers, free_port

Command = Callable[..., Any]
ALONE = ["dataset=synthetic", "teacher=none", "loss=none", "student.recipe.steps=20"]
OWN = """
from torch import nn

class Net(nn.Sequential):
    def __init__(self, num_classes, input_shape):
        super().__init__(nn.Flatten(), nn.Linear(20, num_classes))
"""


# --- who can write to a store


@pytest.fixture
def teacher(tmp_path: Path, done: list[str]) -> Run:
    return the_run(tmp_path, "teacher")


@pytest.fixture
def student(tmp_path: Path, done: list[str]) -> Run:
    return the_run(tmp_path, "student")


@pytest.fixture
def poisoned(tmp_path: Path, teacher: Run) -> str:
    """The id of a teacher's run, whose network.json was written anew by somebody: it names subprocess.run."""
    file = artifact(teacher, names.ARTIFACT_NETWORK)
    node = {"_target_": "subprocess.run", "args": ["touch", str(tmp_path / "owned")]}
    file.write_text(json.dumps(json.loads(file.read_text()) | {"node": node}))
    return str(teacher.info.run_id)


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    ["evaluate run={}", "dataset=synthetic teacher.weights=run:{}", "doctor dataset=synthetic teacher.weights=run:{}"],
)
def test_store__network_that_names_a_program__refused(
    kd_lab: Command, tmp_path: Path, done: list[str], poisoned: str, command: str
) -> None:
    more = [] if command.startswith("evaluate") else done
    said = kd_lab(command.format(poisoned), *more)

    assert said.code == 2
    assert (
        f"run:{poisoned}: network._target_=subprocess.run: a network that comes from a store is built from" in said.err
    )
    assert "add trust=subprocess" in said.err
    assert not (tmp_path / "owned").exists()


def test_store__network_that_names_a_program__no_mlflow_model(
    tmp_path: Path, poisoned: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    with pytest.raises(UserError, match=r"network\._target_=subprocess\.run: a network that comes from a store"):
        mlflow.pyfunc.load_model(f"runs:/{poisoned}/model")
    assert not (tmp_path / "owned").exists()


def test_store__network_that_is_none__one_sentence(kd_lab: Command, teacher: Run) -> None:
    for text in ("[" * 100_000, "{}", "[]", '{"node": 5, "num_classes": 10, "input_shape": [20]}'):
        artifact(teacher, names.ARTIFACT_NETWORK).write_text(text)
        said = kd_lab(f"evaluate run={teacher.info.run_id}")
        assert said.code == 2
        assert said.err.startswith(f"kd-lab: run:{teacher.info.run_id}: network: ")


@pytest.mark.parametrize(
    "dataset",
    [
        {"_target_": "os.system", "command": "touch owned"},
        {
            "_target_": "kd_lab.datasets.synthetic.Synthetic",
            "augment": {"_target_": "os.system", "command": "touch owned"},
        },
    ],
)
def test_store__dataset_that_names_a_program__refused(
    kd_lab: Command, tmp_path: Path, student: Run, dataset: dict[str, Any]
) -> None:
    file = artifact(student, names.ARTIFACT_CONFIG)
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | {"dataset": dataset}))

    said = kd_lab(f"evaluate run={student.info.run_id}")

    assert said.code == 2
    assert "_target_=os.system: a dataset that comes from a store is built from" in said.err
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    "text", ["", "- 1", "seed: 0", "a: [", "seed: 0\nloss: 5\n", "!!python/object/apply:os.system [touch owned]"]
)
def test_store__config_that_is_none__one_sentence(kd_lab: Command, tmp_path: Path, student: Run, text: str) -> None:
    artifact(student, names.ARTIFACT_CONFIG).write_text(text)

    said = kd_lab(f"evaluate run={student.info.run_id}")

    assert said.code == 2
    assert said.err.startswith(f"kd-lab: run:{student.info.run_id}: ")
    assert not (tmp_path / "owned").exists()


@pytest.mark.slow
def test_store__class_of_ones_own__with_trust(kd_lab: Command, tmp_path: Path, small: list[str]) -> None:
    (tmp_path / "my_own_net.py").write_text(OWN)
    assert kd_lab("", *ALONE, "student._target_=my_own_net.Net").code == 0
    run_id = the_run(tmp_path, "student").info.run_id

    refused = kd_lab(f"evaluate run={run_id}")
    assert refused.code == 2
    assert refused.err.endswith(
        "if the code of my_own_net here is yours and you know who wrote that run, add trust=my_own_net\n"
    )
    evaluated = kd_lab(f"evaluate run={run_id} trust=my_own_net")
    assert evaluated.code == 0
    assert "my_own_net.Net" in evaluated.out
    assert kd_lab(f"dataset=synthetic teacher.weights=run:{run_id} trust=my_own_net", *small).code == 0
    assert the_run(tmp_path, "teacher").data.tags["kd_lab.weights_from"] == f"run:{run_id}"


# --- a folder that one stands in


def in_a_process(folder: Path, *arguments: str, **more: str) -> "subprocess.CompletedProcess[str]":
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONSAFEPATH"} | more
    # As the console script begins: the folder of the script comes first, not the one that one stands in.
    command = [sys.executable, "-P", "-c", COMMAND[2], *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=500, check=False
    )


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder whose files have the names of modules that Python, Hydra, MLflow or pandas import if they are there."""
    trap = f"open({str(tmp_path / 'owned')!r}, 'a').write(__file__ + '\\n')\n"
    here = tmp_path / "clone"
    (here / "hydra_plugins").mkdir(parents=True)
    (here / "hydra_plugins" / "trap.py").write_text(trap)
    for name in ("statistics", "uuid", "json", "mlflow", "numexpr", "transformers", "sitecustomize", "IPython"):
        (here / f"{name}.py").write_text(trap)
    return here


def owned(clone: Path) -> str:
    file = clone.parent / "owned"
    return file.read_text() if file.exists() else ""


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments", [["list"], ["--cfg", "job"], ["compare"], ["sync"], ["nothing=1"], ["evaluate", "run=x"]]
)
def test_folder__modules_of_a_known_name__not_imported(clone: Path, arguments: list[str]) -> None:
    said = in_a_process(clone, *arguments)

    assert "Traceback" not in said.stderr
    assert owned(clone) == ""


@pytest.mark.slow
def test_folder__modules_of_a_known_name__not_imported_by_jobs(clone: Path, empty_store: Path) -> None:
    shutil.copy(empty_store, clone / "mlflow.db")
    ddp = ["trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu"]  # the processes of a worker's job as well
    sweep = in_a_process(clone, "-m", *ALONE, "seed=0", "baseline=false", *ddp)
    assert sweep.returncode == 0, sweep.stderr
    assert owned(clone) == ""


@pytest.mark.slow
def test_folder__modules_of_a_known_name__not_imported_by_mlflows_server(clone: Path, empty_store: Path) -> None:
    shutil.copy(empty_store, clone / "mlflow.db")
    for name in ("uvicorn", "fastapi", "flask"):
        shutil.copy(clone / "mlflow.py", clone / f"{name}.py")
    port = free_port()
    command = [sys.executable, "-P", "-c", COMMAND[2], "ui", f"port={port}"]
    process = subprocess.Popen(command, cwd=clone, start_new_session=True, stdout=subprocess.DEVNULL)
    try:
        assert answers(f"http://127.0.0.1:{port}")
    finally:
        os.killpg(process.pid, signal.SIGINT)
        process.wait(60)
    assert owned(clone) == ""


def test_folder__ones_own_class_with_the_name_of_a_package__said(kd_lab: Command, tmp_path: Path) -> None:
    (tmp_path / "statistics.py").write_text(OWN)
    said = kd_lab("dataset=synthetic student._target_=statistics.Net")
    assert said.code == 2
    assert "statistics is also the name of a package that is installed, so rename the one in this folder" in said.err


@pytest.mark.slow
def test_folder__repository_whose_settings_name_a_program__not_run(
    kd_lab: Command, tmp_path: Path, small: list[str]
) -> None:
    def git(*command: str) -> None:
        subprocess.run(
            ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", *command], cwd=tmp_path, check=True
        )

    trap = tmp_path / "trap.sh"
    trap.write_text(f"#!/bin/sh\ntouch {tmp_path}/owned\n")
    trap.chmod(0o755)
    git("init", "-q")
    git("add", "trap.sh")
    git("commit", "-qm", "x")
    git("config", "core.fsmonitor", str(trap))
    assert kd_lab("", *ALONE).code == 0
    assert not (tmp_path / "owned").exists()


# --- a login in an address


@pytest.mark.slow
def test_login__of_a_server__used_by_all_processes_and_nowhere_told(
    kd_lab: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "server").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    server = Server(tmp_path / "server")
    server.start()
    proxy = Proxy(server)
    proxy.login = f"Basic {base64.b64encode(b'me:hunter2').decode()}"
    uri = proxy.uri.replace("://", "://me:hunter2@")
    try:
        assert kd_lab("", *ALONE, f"tracking.uri={proxy.uri}").code == 2
        job = kd_lab("", *ALONE, "study=alone", "baseline=false", f"tracking.uri={uri}")
        assert job.code == 0, job.err
        with monkeypatch.context() as by_environment:
            by_environment.setenv("MLFLOW_TRACKING_URI", uri)
            sweep = kd_lab("-m", *SMALL, "tracking=server", "seed=0")
        assert sweep.code == 0, sweep.err
        compared = kd_lab("compare synthetic --out results", f"tracking.uri={uri}")
        assert compared.code == 0, compared.err
        listed, typed_wrong = kd_lab("ui", f"tracking.uri={uri}"), kd_lab("", f"tracking.url={uri}")
    finally:
        proxy.stop()
        server.stop()
    assert typed_wrong.code == 2
    told = "".join(said.out + said.err for said in (job, sweep, compared, listed, typed_wrong))
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"server.db", "config.yaml", "comparison.html"} <= {path.name for path in files}
    assert "hunter2" not in told
    assert [path for path in files if b"hunter2" in path.read_bytes()] == []
