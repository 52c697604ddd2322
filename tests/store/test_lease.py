import os
import platform
import socket
import time
from concurrent.futures import ThreadPoolExecutor

from kd_lab.store.journal import Header, Journal
from kd_lab.store.lease import Lease, alone, host, same_host
from kd_lab.store.location import Location
from tests.store.conftest import in_a_child


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


def test_forget_dead__locks_that_nobody_holds_or_needs(store, tmp_path):
    held, running, kept, killed, new = ("1" * 32, "2" * 32, "3" * 32, "4" * 32, "5" * 32)
    alive = Lease.take(store.location, held)
    folder = tmp_path / "kd_lab_rescue" / kept
    Journal(folder).begin(Header(store.uri, None, kept))

    def begin():
        Lease.take(store.location, running)
        Lease.take(store.location, kept).folder = folder
        Lease.take(store.location, killed).folder = tmp_path / "kd_lab_rescue" / killed
        Lease.take(store.location, f"states-{'6' * 64}")  # a training's, whose name is cut

    in_a_child(begin)
    for lock in store.location.locks.glob("run-*"):
        os.utime(lock, (1, 1))
    in_a_child(lambda: Lease.take(store.location, new))
    Lease.forget_dead(store.location, {running})
    there = {path.name.split("-")[1] for path in store.location.locks.glob("run-*")}
    assert there == {held, running, kept, new}
    alive.release(done=True)


def test_alone__leaves_no_file_and_keeps_others_out(tmp_path):
    path, inside, most = tmp_path / "a.lock", [], []

    def work(_):
        with alone(path):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.01)
            inside.pop()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(40)))
    assert max(most) == 1
    assert list(tmp_path.iterdir()) == []
