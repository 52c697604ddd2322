"""What the fast readers read is what MLflow's own client reads."""

import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient

from kd_lab.analysis import records
from kd_lab.analysis.records import Record, ServerReader, SqliteReader
from kd_lab.analysis.runs import pairs, runs
from tests.store.servers import answers


def of_client(client, study_id):
    found = {}
    for run in client.search_runs([study_id], max_results=1000):
        info, data = run.info, run.data
        head = info.run_id, info.experiment_id, info.run_name, info.status, info.start_time
        found[info.run_id] = Record(*head, dict(data.metrics), dict(data.params), dict(data.tags))
    return found


@pytest.fixture
def folder(uri, tmp_path):
    shutil.copy(uri.removeprefix("sqlite:///"), tmp_path / "mlflow.db")
    return tmp_path


def reader_and_client(folder):
    return SqliteReader(folder / "mlflow.db"), MlflowClient(f"sqlite:///{folder}/mlflow.db")


def test_sqlite__as_the_client_reads_it(folder):
    reader, client = reader_and_client(folder)
    assert set(reader.studies().values()) == {"Default", "earlier", "digits"}
    (study_id,) = (key for key, name in reader.studies().items() if name == "digits")
    found = reader.of_studies([study_id])
    assert {record.run_id: record for record in found} == of_client(client, study_id)
    times = [record.start_time_ms for record in found]
    assert times == sorted(times, reverse=True)
    assert len(found) == 11


def test_sqlite__deleted_runs_and_studies_are_left_out(folder):
    reader, client = reader_and_client(folder)
    (study_id,) = (key for key, name in reader.studies().items() if name == "earlier")
    first, second = (record.run_id for record in reader.of_studies([study_id]))
    client.delete_run(first)
    assert [record.run_id for record in reader.of_studies([study_id])] == [second]
    assert [record.run_id for record in reader.of_ids([first, second, "0" * 32])] == [second]
    client.delete_experiment(study_id)
    assert "earlier" not in reader.studies().values()


def test_sqlite__metrics_that_are_no_numbers(folder):
    reader, client = reader_and_client(folder)
    (study_id,) = (key for key, name in reader.studies().items() if name == "digits")
    run_id = client.create_run(study_id, tags={"role": "student"}).info.run_id
    client.log_metric(run_id, "test/nll_nats", float("nan"))
    client.log_metric(run_id, "test/brier", 0.5)
    (record,) = reader.of_ids([run_id])
    assert np.isnan(record.metrics["test/nll_nats"])
    assert record.metrics["test/brier"] == 0.5


def test_sqlite__has_role(folder):
    reader, _ = reader_and_client(folder)
    ids = {name: key for key, name in reader.studies().items()}
    assert reader.has_role(ids["digits"], "student")
    assert not reader.has_role(ids["earlier"], "student")


def sizes_of(reader):
    (study_id,) = (key for key, name in reader.studies().items() if name == "digits")
    found = reader.of_studies([study_id])
    sizes = reader.test_samples([*(record.run_id for record in found), "0" * 32])
    return sizes, {r.run_id for r in found if r.tags["role"] == "student" and r.status == "FINISHED"}


def test_sqlite__test_samples(folder):
    sizes, students = sizes_of(reader_and_client(folder)[0])
    assert sizes == dict.fromkeys(students, 597)


@pytest.mark.parametrize("profile", ["", "[1]", '{"samples": "many"}', '{"samples": 0}', f'{{"samples": {10**30}}}'])
def test_sqlite__test_samples_that_are_no_number_of_samples(folder, profile):
    with sqlite3.connect(folder / "mlflow.db") as connection:
        connection.execute("UPDATE datasets SET dataset_profile = ?", (profile,))
    assert sizes_of(reader_and_client(folder)[0])[0] == {}


def test_sqlite__only_read(folder):
    path = folder / "mlflow.db"
    path.chmod(0o444)
    before = path.read_bytes()
    assert len(runs("digits", f"sqlite:///{path}")) == 11
    assert path.read_bytes() == before
    assert sorted(p.name for p in folder.iterdir()) == ["mlflow.db", "mlflow.db.lock"]


def test_sqlite__while_another_process_writes(folder):
    """A writer that holds the database is waited for; the reader sees what was there before or after."""
    reader, _ = reader_and_client(folder)
    (study_id,) = (key for key, name in reader.studies().items() if name == "digits")
    with sqlite3.connect(folder / "mlflow.db") as writer:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("UPDATE runs SET name = 'new'")
        assert len(reader.of_studies([study_id])) == 11
    assert {record.name for record in reader.of_studies([study_id])} == {"new"}


@pytest.fixture(scope="module")
def server(uri, tmp_path_factory):
    folder: Path = tmp_path_factory.mktemp("server")
    shutil.copy(uri.removeprefix("sqlite:///"), folder / "mlflow.db")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", "sqlite:///mlflow.db"]
    environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, env=environment, start_new_session=True)
    address = f"http://127.0.0.1:{port}"
    assert answers(address)
    yield address
    os.killpg(process.pid, signal.SIGTERM)
    process.wait(30)


@pytest.mark.slow
@pytest.mark.parametrize("page", [500, 3])
def test_server__as_the_client_reads_it(server, monkeypatch, page):
    """In one page; and in pages of three, which makes it ask for windows of time."""
    monkeypatch.setattr(records, "PAGE", page)
    reader, client = ServerReader(server), MlflowClient(server)
    (study_id,) = (key for key, name in reader.studies().items() if name == "digits")
    found = reader.of_studies([study_id])
    assert {record.run_id: record for record in found} == of_client(client, study_id)
    times = [record.start_time_ms for record in found]
    assert times == sorted(times, reverse=True)
    assert [record.run_id for record in reader.of_ids([found[0].run_id, "0" * 32])] == [found[0].run_id]
    assert reader.has_role(study_id, "student")
    assert not reader.has_role("0", "student")


@pytest.mark.slow
def test_server__test_samples(server):
    sizes, students = sizes_of(ServerReader(server))
    assert sizes == dict.fromkeys(students, 597)


@pytest.mark.slow
def test_server__the_same_table_as_from_the_file(server, uri):
    served, filed = pairs(runs("digits", server)), pairs(runs("digits", uri))
    assert (
        served.sort_values("student_run")
        .reset_index(drop=True)
        .equals(filed.sort_values("student_run").reset_index(drop=True)[served.columns])
    )
