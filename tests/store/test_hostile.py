"""Attacks on who merely looks at runs or trains: through a store, its locks, a rescue folder. Each was done once."""

import json
import os
import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from mlflow import MlflowClient

from kd_lab.analysis.runs import runs
from kd_lab.errors import UserError
from kd_lab.names import TAG_HOST, TAG_LOCAL_ID, TAG_ROLE
from kd_lab.outside.nodes import TRUST
from kd_lab.store.lease import Lease, host
from kd_lab.store.location import Location
from kd_lab.store.orphans import close_orphans
from kd_lab.store.run import Run
from kd_lab.store.store import Store
from kd_lab.store.sync import sync
from tests.store.conftest import START

LOCAL = "sqlite:///mlflow.db"
KEPT = "c" * 32


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """What must be there afterwards as it was before."""
    folder = tmp_path / "victim"
    folder.mkdir()
    (folder / "thesis.tex").write_text("years of work")
    return folder


def untouched(victim: Path) -> bool:
    return {path.name: path.read_text() for path in victim.iterdir()} == {"thesis.tex": "years of work"}


def kept(root: Path, uri: str, **more: object) -> Path:
    """A rescue folder's run, as an archive or a clone may bring it."""
    folder = root / "kd_lab_rescue" / KEPT
    (folder / "artifacts").mkdir(parents=True)
    header = {"uri": uri, "run_id": None, "local_id": KEPT, "study": "digits", "name": "bait", "started_ms": 1} | more
    (folder / "run.json").write_text(json.dumps(header))
    (folder / "artifacts" / "report.md").write_text("harmless")
    (folder / "log-1.jsonl").write_text('{"artifacts": ["report.md"], "end": ["FINISHED", 2]}\n')
    return folder


def texts(folder: Path) -> str:
    """Everything that lies below a folder, as one text."""
    return "".join(path.read_bytes().decode("latin-1") for path in sorted(folder.rglob("*")) if path.is_file())


# --- a store that answers what it should not


@pytest.mark.slow
def test_server__id_that_is_a_path__refused_and_nothing_of_the_user_is_touched(proxy, tmp_path, victim, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = Store.open(proxy.uri, "hostile")
    made: list[str] = []

    def hostile(answer: bytes) -> bytes:
        made.extend(re.findall(r'"run_id": ?"([0-9a-f]{32})"', answer.decode()))
        return re.sub(rb'("run_(?:id|uuid)": ?)"[0-9a-f]{32}"', rb'\1"../victim"', answer)

    proxy.rewrite = hostile
    with pytest.raises(
        UserError, match=r"^tracking\.uri=http.*'\.\./victim' came as the id of a run, expected 32 digits"
    ):
        store.start_run(**START)
    assert made
    with pytest.raises(UserError, match="came as the id of a run"):
        store.get(made[0])
    assert store.find("k") is None
    assert close_orphans(store) == []
    assert untouched(victim)
    assert not (tmp_path / "kd_lab_rescue").exists()


@pytest.mark.slow
def test_server__answers_an_empty_object_while_a_run_begins__kept_here_until_it_tells_of_a_run(
    proxy, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    store = Store.open(proxy.uri, "empty")
    proxy.rewrite = lambda _answer: b"{}"
    with store.start_run(**START) as run:
        pass
    folder = tmp_path / "kd_lab_rescue" / run.run_id
    assert json.loads((folder / "run.json").read_text())["run_id"] is None
    proxy.rewrite = bytes
    assert len(list(sync(None))) == 1
    assert not folder.exists()
    assert [one.info.status for one in MlflowClient(proxy.uri).search_runs([store.experiment_id])] == ["FINISHED"]


def test_run__id_that_is_a_path__refused(store, victim):
    with pytest.raises(UserError, match="came as the id of a run"):
        Run(store.uri, "../../victim")
    assert untouched(victim)


def test_store__row_with_an_id_that_is_a_path__left_out_and_the_others_read(store, start, victim):
    with start(tags={"kd_lab.key": "k"}) as run:
        pass
    with closing(sqlite3.connect(Location.parse(store.uri).database)) as database:
        database.execute("PRAGMA foreign_keys = OFF")
        columns = [row[1] for row in database.execute("PRAGMA table_info(runs)")]
        assert columns[0] == "run_uuid"
        others = ", ".join(columns[1:])
        database.execute(f"INSERT INTO runs (run_uuid, {others}) SELECT '../victim', {others} FROM runs")
        facts = {TAG_ROLE: "student", TAG_HOST: host(store.location), TAG_LOCAL_ID: "d" * 32}
        for key, value in facts.items():
            database.execute("INSERT INTO tags (key, value, run_uuid) VALUES (?, ?, '../victim')", (key, value))
        database.execute("UPDATE runs SET status = 'RUNNING' WHERE run_uuid = '../victim'")
        database.commit()
    assert close_orphans(store) == []
    found = store.find("k")
    assert found is not None
    assert found.run_id == run.run_id
    assert list(runs("digits", store.uri)["run_id"]) == [run.run_id]
    assert untouched(victim)


@pytest.mark.slow
def test_server__artifacts_in_a_folder_of_the_user__refused_before_anything_is_trained(
    proxy, tmp_path, victim, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    store = Store.open(proxy.uri, "hostile")
    with store.start_run(**START) as run:
        pass
    place = victim.as_uri().encode()
    proxy.rewrite = lambda answer: re.sub(rb'"artifact_uri": ?"[^"]*"', b'"artifact_uri": "' + place + b'"', answer)
    with pytest.raises(
        UserError, match=rf"artifacts of its runs lie in {victim} on this machine, expected them on the server"
    ):
        store.start_run(**START)
    from kd_lab.store import client

    client._client.cache_clear()  # who comes later, and reads
    with pytest.raises(UserError, match="on this machine, expected them on the server"):
        store.get(run.run_id).download("config.yaml")
    assert untouched(victim)


def test_store__artifacts_elsewhere__refused_unless_trusted(store, tmp_path, monkeypatch):
    elsewhere = tmp_path.parent / f"{tmp_path.name}-elsewhere"
    MlflowClient(store.uri).create_experiment("theirs", artifact_location=elsewhere.as_uri())
    with pytest.raises(UserError, match=rf"lie in {elsewhere}.*expected them below {tmp_path}.*add trust={elsewhere}$"):
        Store.open(store.uri, "theirs").start_run(**START)
    assert not elsewhere.exists()
    monkeypatch.setenv(TRUST, str(elsewhere))
    with Store.open(store.uri, "theirs").start_run(**START) as run:
        pass
    assert Store.open(store.uri, "theirs").get(run.run_id).config() == {"a": 1}


@pytest.mark.parametrize("artifact", ["config.yaml", "model/network.json"])
def test_store__artifact_that_is_a_link__not_read(store, start, tmp_path, artifact):
    with start() as run:
        run.log_text("{}", "model/network.json")
    (file,) = (tmp_path / "mlartifacts").rglob(Path(artifact).name)
    file.unlink()
    (tmp_path / "secret").write_text("secret")
    file.symlink_to(tmp_path / "secret")
    with pytest.raises(UserError, match="is a link"):
        store.get(run.run_id).download(artifact)


# --- a rescue folder that came with an archive, a clone, or from a colleague


@pytest.mark.parametrize("what", ["link", "file", "closed"])
def test_open__rescue_folder_that_cannot_be_used__said_before_anything_is_trained(tmp_path, monkeypatch, what):
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "kd_lab_rescue"
    if what == "link":
        (tmp_path / "elsewhere").mkdir()
        root.symlink_to(tmp_path / "elsewhere")
    elif what == "file":
        root.write_text("")
    else:
        root.mkdir()
        plain = os.access
        monkeypatch.setattr(os, "access", lambda path, mode: path != root and plain(path, mode))
    with pytest.raises(UserError, match=r"kd_lab_rescue: expected a folder that you can write in"):
        Store.open(LOCAL, "digits")
    assert not (tmp_path / "mlflow.db").exists()


@pytest.mark.parametrize("way", ["link", "folder", "dots", "absolute", "artifacts"])
def test_sync__what_a_rescue_folder_points_to__not_uploaded(store, tmp_path, way):
    folder = kept(tmp_path, store.uri)
    secret = tmp_path / "home" / "id_rsa"
    secret.parent.mkdir()
    secret.write_text("the private key")
    artifact = {"folder": "f/id_rsa", "dots": "../../../home/id_rsa", "absolute": str(secret)}.get(way, "id_rsa")
    (folder / "log-1.jsonl").write_text(json.dumps({"artifacts": [artifact], "end": ["FINISHED", 2]}) + "\n")
    if way == "link":
        (folder / "artifacts" / "id_rsa").symlink_to(secret)
    if way == "folder":
        (folder / "artifacts" / "f").symlink_to(secret.parent)
    if way == "artifacts":
        shutil.rmtree(folder / "artifacts")
        (folder / "artifacts").symlink_to(secret.parent)
    with pytest.raises(UserError, match=r"leads out of|is a link"):
        list(sync(None))
    assert MlflowClient(store.uri).search_runs([store.experiment_id]) == []
    assert not list((tmp_path / "mlartifacts").rglob("id_rsa"))
    assert folder.is_dir()


def test_sync__log_that_is_a_link__not_read(store, tmp_path):
    folder = kept(tmp_path, store.uri)
    (tmp_path / "notes.jsonl").write_text('{"params": {"password": "secret"}}\n')
    (folder / "log-2.jsonl").symlink_to(tmp_path / "notes.jsonl")
    list(sync(None))
    (run,) = MlflowClient(store.uri).search_runs([store.experiment_id])
    assert "password" not in run.data.params


def test_sync__a_server_never_used__not_asked(store, tmp_path):
    kept(tmp_path, "http://127.0.0.1:9")
    with pytest.raises(
        UserError, match=r"^tracking\.uri=http://127\.0\.0\.1:9: runs in .*have not used .*kd-lab sync tracking"
    ):
        list(sync(None))
    with pytest.raises(UserError, match="still away"):  # it is asked where one names it
        list(sync("http://127.0.0.1:9"))


def test_sync__another_database_than_the_one_beside__not_made(store, tmp_path):
    kept(tmp_path, f"sqlite:///{tmp_path}/home/other.db")
    with pytest.raises(UserError, match="are meant for this store, which you have not used"):
        list(sync(None))
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("line", ["[" * 100_000, "[]", '{"points": [1]}', '{"points": 5}', '{"x": 1}', '{"end": 5}'])
def test_sync__line_that_no_run_writes__passed_over(store, tmp_path, line):
    folder = kept(tmp_path, store.uri)
    (folder / "log-2.jsonl").write_text(line + "\n")
    assert "FINISHED" in "".join(sync(None))


@pytest.mark.parametrize(
    "header", ["[]", "{", '{"uri": 5}', f'{{"uri": "ftp://x", "local_id": "{KEPT}"}}', '{"surplus": 1}']
)
def test_sync__header_that_no_run_has__passed_over(store, tmp_path, header):
    folder = kept(tmp_path, store.uri)
    (folder / "run.json").write_text(header)
    assert list(sync(None)) == ["Nothing to bring in: no run is kept here that its store does not have."]
    assert folder.is_dir()


def test_sync__folder_of_somebody_else__left_alone(store, tmp_path, monkeypatch):
    folder = kept(tmp_path, store.uri)
    from kd_lab.outside import paths

    monkeypatch.setattr(paths, "_user", lambda _: os.getuid() + 1)
    assert list(sync(None)) == ["Nothing to bring in: no run is kept here that its store does not have."]
    assert (folder / "run.json").is_file()


# --- notes in the folder of locks, which all who use a store can write


def left_running(store: Store, local_id: str) -> str:
    tags = {TAG_ROLE: "student", TAG_LOCAL_ID: local_id, TAG_HOST: host(store.location)}
    return str(MlflowClient(store.uri).create_run(store.experiment_id, tags=tags).info.run_id)


@pytest.mark.parametrize("where", ["victim", "victim/kd_lab_rescue", f"victim/kd_lab_rescue/{KEPT}", "relative"])
def test_close_orphans__note_that_points_elsewhere__nothing_uploaded_nor_deleted(store, tmp_path, victim, where):
    run_id = left_running(store, "e" * 32)
    target = tmp_path / where if where != "relative" else Path("victim")
    if where != "relative":
        (target / "artifacts").mkdir(parents=True, exist_ok=True)
        (target / "artifacts" / "id_rsa").write_text("the private key")
        (target / "log-1.jsonl").write_text('{"artifacts": ["id_rsa"]}\n')
        header = {"uri": store.uri, "run_id": "f" * 32, "local_id": "f" * 32}  # of another run
        (target / "run.json").write_text(json.dumps(header))
    note = Lease.take(store.location, "e" * 32)
    assert note is not None
    note.folder = target
    note.release(done=False)
    before = set(victim.rglob("*"))
    assert len(close_orphans(store)) == 1
    assert MlflowClient(store.uri).get_run(run_id).info.status == "KILLED"
    assert MlflowClient(store.uri).list_artifacts(run_id) == []
    assert set(victim.rglob("*")) == before


def test_close_orphans__rescue_folder_that_is_a_link__nothing_deleted(store, tmp_path, victim):
    run_id = left_running(store, "e" * 32)
    (victim / "run.json").write_text(json.dumps({"uri": store.uri, "run_id": run_id, "local_id": "e" * 32}))
    (tmp_path / "kd_lab_rescue").mkdir()
    (tmp_path / "kd_lab_rescue" / run_id).symlink_to(victim)
    assert len(close_orphans(store)) == 1
    assert (victim / "thesis.tex").read_text() == "years of work"
    assert (tmp_path / "kd_lab_rescue" / run_id).is_symlink()


# --- logins


@pytest.mark.slow
def test_server__login_in_its_address__used_and_nowhere_told(proxy, tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    proxy.login = "Basic bWU6cGFzczp3b3JkQA=="
    with pytest.raises(UserError, match=r"cannot use this store|does not answer"):
        Store.open(proxy.uri, "logins")
    uri = proxy.uri.replace("://", "://me:pass:word%40@")
    store = Store.open(uri, "logins")
    with store.start_run(**START | {"tags": {"kd_lab.key": "k"}}) as run:
        run.log(0, {"test/accuracy_top1": 0.5})
        proxy.mode = "500"
        run.log_text("x", "report.md")
        run.flush()
        said = texts(tmp_path) + caplog.text
        proxy.mode = "pass"
    assert store.find("k").config() == {"a": 1}
    assert list(runs("logins", uri)["run_id"]) == list(runs("logins", proxy.uri)["run_id"]) == [run.run_id]
    there = MlflowClient(uri).get_run(run.run_id)
    said += str(there.to_dictionary()) + store.uri + str(Location.parse(uri))
    with pytest.raises(UserError) as missing:
        runs("none", uri)
    said += str(missing.value)
    assert "http" in said
    assert "word" not in said


def test_open__another_programs_database__left_as_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with closing(sqlite3.connect("places.sqlite")) as database:
        database.execute("CREATE TABLE moz_places (url)")
    before = Path("places.sqlite").read_bytes()
    for open_it in (lambda uri: Store.open(uri, "digits"), Store.existing):
        with pytest.raises(UserError, match="holds tables of another program"):
            open_it("sqlite:///places.sqlite")
    shutil.copy("places.sqlite", "mlflow.db")
    list(sync(None))
    assert Path("places.sqlite").read_bytes() == Path("mlflow.db").read_bytes() == before
