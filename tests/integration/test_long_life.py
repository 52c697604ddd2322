"""The life of a job that takes a week, told in a minute: what it has trained at its end is what it would have."""

import random
import signal
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from kd_lab import names
from tests.integration.nursery import Nursery, Process
from tests.integration.processes import forks
from tests.integration.workers import LIMIT
from tests.store.servers import Proxy, Server

pytestmark = pytest.mark.slow
KILLS = 10
JOB = ["dataset=synthetic", "teacher=mlp", "study=life", "teacher.recipe.steps=1500", "student.recipe.steps=3000"]
JOB += ["measure.latency_runs=1", "measure.latency_warmup=1", "measure.figures=false", "checkpoint.every_s=0.05"]


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[Proxy]:
    folder = tmp_path / "server"
    folder.mkdir()
    server = Server(folder)
    server.start()
    made = Proxy(server)
    yield made
    made.stop()
    server.stop(signal.SIGKILL)


class Life:
    """A folder, its home among what is in it, and the command that is given again and again."""

    def __init__(self, nursery: Nursery, folder: Path, *overrides: str) -> None:
        self.folder, self._nursery, self._overrides = folder, nursery, overrides
        self.said = ""
        folder.mkdir()

    def begin(self, **environment: str) -> Process:
        own = {"HOME": str(self.folder), "TMPDIR": str(self.folder)} | environment
        return self._nursery.start([*JOB, *self._overrides], self.folder, self.folder.parent, own)

    def end(self, process: Process) -> int | None:
        code = process.wait(300)
        assert "Traceback" not in process.said, process.said
        self.said += process.said
        return code

    def kill(self, states: int) -> None:
        """Once so many states were kept."""
        process, seen = self.begin(), set[str]()
        before = self.states()
        while len(seen) < states and process.wait(0.01) is None:
            seen |= self.states() - before
        process.signal(signal.SIGKILL)
        assert self.end(process) == -signal.SIGKILL, process.said

    def states(self) -> set[str]:
        return {str(file) for file in self.folder.glob(".cache/kd-lab/checkpoints/*/*.state")}

    def move(self, to: Path) -> None:
        self.folder.rename(to)
        self.folder = to


def networks(database: Path) -> list[tuple[str, str, str | None]]:
    """Role, status and hash of the weights of each run."""
    rule = (
        "SELECT r.value, status, w.value FROM runs JOIN tags r USING (run_uuid) LEFT JOIN tags w ON w.run_uuid = "
        "runs.run_uuid AND w.key = ? WHERE r.key = ? ORDER BY start_time"
    )
    with closing(sqlite3.connect(database)) as connection:
        return list(connection.execute(rule, (names.TAG_WEIGHTS_SHA256, names.TAG_ROLE)))


def test_long_life__ends_as_if_nothing_had_happened(tmp_path: Path, proxy: Proxy) -> None:
    nursery = forks()[0]
    whole = Life(nursery, tmp_path / "whole")
    assert whole.end(whole.begin()) == 0, whole.said
    life = Life(nursery, tmp_path / "life", f"tracking.uri={proxy.uri}", "tracking.offline=fallback")
    chance = random.Random(0)

    for number in range(KILLS):
        if number == 3:
            proxy.mode = "500"  # the store goes away, for a while
        if number == 5:
            life.move(tmp_path / "elsewhere")
        if number == 7:
            proxy.mode = "pass"
        life.kill(chance.randint(1, 4))
    full = life.begin(**{LIMIT: "2000"})  # no file may be larger: neither a state nor weights can be kept
    assert life.end(full) == 1
    assert "the disk is full; free some space and start again." in full.complained
    assert life.end(life.begin()) == 0, life.said

    assert life.said.count(": goes on at step ") >= KILLS - 2
    expected = {role: sha256 for role, _, sha256 in networks(tmp_path / "whole" / "mlflow.db")}
    found = networks(tmp_path / "server" / "server.db")
    finished = [(role, sha256) for role, status, sha256 in found if status == "FINISHED"]
    assert set(finished) == set(expected.items())
    # What was finished before the store went away cannot be found while it is, and is trained once more, to the same.
    assert len(finished) <= len(expected) + 1
    ended = Counter(status for _, status, _ in found if status != "FINISHED")
    assert ended.total() == ended["KILLED"] + ended["FAILED"] == KILLS + 1  # a full disk has no room for how it ended
    assert life.states() == set()
    assert not (life.folder / "kd_lab_rescue").exists()
