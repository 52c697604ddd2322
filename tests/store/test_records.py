"""What the fast readers read is what MLflow's own client reads."""

import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient

from kd_lab.analysis.runs import runs
from kd_lab.store import records
from kd_lab.store.records import Record, ServerReader, SqliteReader
from tests.analysis.conftest import write_study
from tests.store.servers import Server

DATABASE = "server.db"  # of tests.store.servers


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder: Path = tmp_path_factory.mktemp("study")
    write_study(f"sqlite:///{folder}/{DATABASE}")
    return folder


@pytest.fixture(scope="module")
def served(study, tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    shutil.copy(study / DATABASE, folder)
    server = Server(folder)
    server.start()
    yield server.uri
    server.stop()


@pytest.fixture
def database(study, tmp_path):
    return Path(shutil.copy(study / DATABASE, tmp_path))


def study_id(reader, wanted="digits"):
    (found,) = (key for key, name in reader.studies().items() if name == wanted)
    return found


def of_client(client, study_id):
    found = {}
    for run in client.search_runs([study_id], max_results=1000):
        info, data = run.info, run.data
        head = info.run_id, info.experiment_id, info.run_name, info.status, info.start_time
        found[info.run_id] = Record(*head, dict(data.metrics), dict(data.params), dict(data.tags))
    return found


def as_the_client_reads(reader, client):
    assert set(reader.studies().values()) == {"Default", "earlier", "digits"}
    digits = study_id(reader)
    found = reader.of_studies([digits])
    assert len(found) == 11
    assert {record.run_id: record for record in found} == of_client(client, digits)
    times = [record.start_time_ms for record in found]
    assert times == sorted(times, reverse=True)
    assert [record.run_id for record in reader.of_ids([found[0].run_id, "0" * 32])] == [found[0].run_id]
    assert reader.has_role(digits, "student")
    assert not reader.has_role(study_id(reader, "earlier"), "student")
    finished = {record.run_id for record in found if record.tags["role"] == "student" and record.status == "FINISHED"}
    assert reader.test_samples([*(record.run_id for record in found), "0" * 32]) == dict.fromkeys(finished, 597)


@pytest.mark.slow
def test_sqlite__as_the_client_reads_it(database):
    as_the_client_reads(SqliteReader(database), MlflowClient(f"sqlite:///{database}"))


@pytest.mark.slow
@pytest.mark.parametrize("page", [500, 3])
def test_server__as_the_client_reads_it(served, monkeypatch, page):
    """In one page; and in pages of three, which makes it ask for windows of time."""
    monkeypatch.setattr(records, "PAGE", page)
    as_the_client_reads(ServerReader(served), MlflowClient(served))


def test_sqlite__deleted_runs_and_studies_are_left_out(database):
    reader, client = SqliteReader(database), MlflowClient(f"sqlite:///{database}")
    earlier = study_id(reader, "earlier")
    first, second = (record.run_id for record in reader.of_studies([earlier]))
    client.delete_run(first)
    assert [record.run_id for record in reader.of_studies([earlier])] == [second]
    assert [record.run_id for record in reader.of_ids([first, second, "0" * 32])] == [second]
    client.delete_experiment(earlier)
    assert "earlier" not in reader.studies().values()


def test_sqlite__metrics_that_are_no_numbers(database):
    reader, client = SqliteReader(database), MlflowClient(f"sqlite:///{database}")
    run_id = client.create_run(study_id(reader), tags={"role": "student"}).info.run_id
    client.log_metric(run_id, "test/nll_nats", float("nan"))
    client.log_metric(run_id, "test/brier", 0.5)
    (record,) = reader.of_ids([run_id])
    assert np.isnan(record.metrics["test/nll_nats"])
    assert record.metrics["test/brier"] == 0.5


@pytest.mark.parametrize("profile", ["", "[1]", '{"samples": "many"}', '{"samples": 0}', f'{{"samples": {10**30}}}'])
def test_sqlite__test_samples_that_are_no_number_of_samples(database, profile):
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE datasets SET dataset_profile = ?", (profile,))
    reader = SqliteReader(database)
    assert reader.test_samples([record.run_id for record in reader.of_studies([study_id(reader)])]) == {}


def test_sqlite__only_read(database):
    database.chmod(0o444)
    before = database.read_bytes()
    assert len(runs("digits", f"sqlite:///{database}")) == 11
    assert database.read_bytes() == before
    assert sorted(path.name for path in database.parent.iterdir()) == [DATABASE, f"{DATABASE}.lock"]


@pytest.mark.slow
def test_sqlite__while_another_process_writes(database):
    """A writer that holds the database is waited for; the reader sees what was there before or after."""
    reader = SqliteReader(database)
    digits = study_id(reader)
    with sqlite3.connect(database) as writer:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("UPDATE runs SET name = 'new'")
        assert len(reader.of_studies([digits])) == 11
    assert {record.name for record in reader.of_studies([digits])} == {"new"}
