import socket
import threading
from pathlib import Path

import pytest
import yaml

from kd_lab.errors import UserError
from kd_lab.job.catalogue import conf_dir
from kd_lab.store.location import LOCAL, Location


def test_parse__relative_file__absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    location = Location.parse("sqlite:///runs/mlflow.db")
    assert location.database == tmp_path / "runs" / "mlflow.db"
    assert location.uri == f"sqlite:///{tmp_path}/runs/mlflow.db"
    assert location.locks == tmp_path / "runs" / "mlflow.db.locks"
    assert location.artifacts("a/b") == f"file://{tmp_path}/runs/mlartifacts/a_b"


def test_parse__server__locks_in_the_home_folder():
    here, there = Location.parse("http://a:5000"), Location.parse("http://b:5000")
    assert here.database is None
    assert here.artifacts("x") is None
    assert here.locks.parent == Path.home() / ".cache" / "kd-lab" / "locks"
    assert here.locks != there.locks


@pytest.mark.parametrize("uri", ["postgresql://x/y", "file:./mlruns", "mlflow.db", "sqlite:///", "sqlite://", ""])
def test_parse__other_addresses__user_error(uri):
    with pytest.raises(UserError, match=r"^tracking\.uri=.*: expected sqlite:///FILE or the http\(s\) address"):
        Location.parse(uri)


def test_lock_file__names__one_file_each(tmp_path):
    location = Location.parse(f"sqlite:///{tmp_path}/mlflow.db")
    files = {location.lock_file(name) for name in ("a/b", "a:b", "a_b", "", "../x")}
    assert len(files) == 5
    assert {file.parent for file in files} == {location.locks}


def test_check__folder_as_file__user_error(tmp_path):
    with pytest.raises(UserError, match="this is a folder"):
        Location.parse(f"sqlite:///{tmp_path}").check()


def test_check__folder_cannot_be_made__user_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"tracking\.uri=.*: cannot write in .*file/below \("):
        Location.parse(f"sqlite:///{tmp_path}/file/below/mlflow.db").check()


@pytest.mark.parametrize("uri", ["http://127.0.0.1:9", "http://[bad", "https://127.0.0.1:9/path/"])
def test_check__no_server__user_error(uri):
    with pytest.raises(UserError, match=r"^tracking\.uri=http.*: no MLflow server answers there \(.*tracking=local"):
        Location.parse(uri).check()


def test_check__port_that_speaks_no_http__user_error():
    def answer():
        there, _ = port.accept()
        there.recv(100)
        there.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")
        there.close()

    with socket.socket() as port:
        port.bind(("127.0.0.1", 0))
        port.listen()
        threading.Thread(target=answer, daemon=True).start()
        uri = f"http://127.0.0.1:{port.getsockname()[1]}"
        with pytest.raises(UserError, match=rf"^tracking\.uri={uri}: no MLflow server .*speaks no HTTP"):
            Location.parse(uri).check()


def test_local__is_what_a_job_is_told_by_default():
    assert yaml.safe_load((conf_dir() / "tracking" / "local.yaml").read_text())["uri"] == LOCAL


def test_check__locks_that_are_a_file__user_error(tmp_path):
    (tmp_path / "mlflow.db.locks").write_text("I am a file")
    with pytest.raises(
        UserError, match=r"mlflow\.db\.locks: expected a folder, where the locks of sqlite:.* are; take"
    ):
        Location.parse(f"sqlite:///{tmp_path / 'mlflow.db'}").check()
