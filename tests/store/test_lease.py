import platform
import socket

from kd_lab.store.lease import Lease, host, same_host
from kd_lab.store.location import Location


def test_lease__held_by_one_at_a_time(tmp_path):
    location = Location.parse(f"sqlite:///{tmp_path}/mlflow.db")
    lease = Lease.take(location, "a")
    assert lease is not None
    assert Lease.take(location, "a") is None
    assert Lease.take(location, "b") is not None
    folder = tmp_path / "kd_lab_rescue" / ("a" * 32)
    folder.mkdir(parents=True)
    lease.folder = folder
    lease.release(done=False)
    again = Lease.take(location, "a")
    assert again.folder == folder
    again.release(done=True)
    assert Lease.take(location, "a").folder is None


def test_host__one_for_a_folder_of_locks_and_no_name_in_it(tmp_path, monkeypatch):
    here = Location.parse(f"sqlite:///{tmp_path}/mlflow.db")
    before = host(here)
    assert host(here) == before
    assert platform.node() not in before
    assert not same_host(before, host(Location.parse(f"sqlite:///{tmp_path}/other.db")))
    monkeypatch.setattr(platform, "node", lambda: "secret-host")
    monkeypatch.setattr(socket, "gethostname", lambda: "secret-host")
    assert "secret" not in host(here)


def test_same_host__one_part_in_common():
    assert same_host("a-b", "a-c")
    assert same_host("a-b", "c-b")
    assert not same_host("a-b", "c-d")
    assert not same_host("", "a-b")
