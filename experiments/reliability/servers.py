"""A real MLflow server on this machine that is killed, hidden, slow, or says what no server says, behind a proxy."""

import os
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from experiments.reliability.ends import QUICK
from experiments.reliability.place import SERVER, Place
from tests.integration.nursery import Process
from tests.store.servers import Proxy, Server

STEPS = ["teacher.recipe.steps=300", "student.recipe.steps=1500"]
JOB = ["dataset=synthetic", "teacher=mlp", *STEPS, *QUICK, "student.reuse=true", "tracking=server"]
SECONDS = 6.0
SLOW_S = 0.4
ANSWERS: dict[str, Callable[[bytes], bytes]] = {
    "says garbage": lambda _: b"\x00\xff garbage \x00",
    "says a page of HTML": lambda _: b"<!doctype html><title>Sign in</title>",
    "says nothing": lambda _: b"",
    "says half of it": lambda body: body[: len(body) // 2],
    "says an empty object": lambda _: b"{}",
    "is slow": lambda body: time.sleep(SLOW_S) or body,  # type: ignore[func-returns-value]
}
MODES = {"says 500": "500", "hangs": "sleep", "loses its answers": "lose"}


@dataclass
class Rig:
    """One server and the proxy before it, for all attacks of a process."""

    server: Server
    proxy: Proxy

    @classmethod
    def begin(cls, folder: Path) -> "Rig":
        """Start both."""
        server = Server(folder)
        server.start()
        return cls(server, Proxy(server))

    def break_(self, fault: str) -> None:
        """Begin to misbehave."""
        if fault == "is killed":
            self.server.stop(signal.SIGKILL)
        elif fault == "is stopped":
            self._signal(signal.SIGSTOP)
        elif fault == "asks who you are":
            self.proxy.login = "Basic nobody"
        elif fault in MODES:
            self.proxy.mode = MODES[fault]
        else:
            self.proxy.rewrite = ANSWERS[fault]

    def mend(self) -> None:
        """Be a server again."""
        self.proxy.mode, self.proxy.login, self.proxy.rewrite = "pass", None, bytes
        self._signal(signal.SIGCONT)
        self.server.start()

    def close(self) -> None:
        """End both."""
        self.mend()
        self.proxy.stop()
        self.server.stop()

    def _signal(self, number: signal.Signals) -> None:
        if self.server.process is not None and self.server.process.poll() is None:
            os.killpg(self.server.process.pid, number)


def _begun(process: Process, database: Path, study: str) -> bool:
    """Wait for the first run of a job: a server that is away before that is an error of the user's."""
    rule = "SELECT count(*) FROM runs JOIN experiments e USING (experiment_id) WHERE e.name = ?"
    while process.wait(0.1) is None:
        with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True, timeout=30)) as connection:
            if connection.execute(rule, (study,)).fetchone()[0]:
                return True
    return False


FAULTS = ["is killed", "is stopped", "asks who you are", *MODES, *ANSWERS]


def faulty(
    rig: Callable[[], Rig], fault: str, number: int, *, whole_job: bool, at_start: bool
) -> Callable[[Place], None]:
    """A server that misbehaves from a random moment of the trainings on, until the job has ended or for some seconds.

    at_start: before the job begins, which then keeps all here (tracking.offline=fallback).
    """

    def act(place: Place) -> None:
        study, uses = f"attack-{number}", rig()
        own = [f"study={study}", f"seed={number}", f"teacher.seed={number}", f"tracking.uri={uses.proxy.uri}"]
        arguments = [*JOB, *own, *(["tracking.offline=fallback"] if at_start else [])]
        if at_start:
            uses.break_(fault)
        process = place.begin(*arguments)
        try:
            if not at_start:
                begun = _begun(process, uses.server.folder / SERVER, study)
                moment = place.chance.uniform(0.0, SECONDS)
                place.facts["moment_s"] = round(moment, 2)
                place.facts["was"] = "struck" if begun and process.wait(moment) is None else "done before"
                uses.break_(fault)
            if not whole_job:
                process.wait(2.0)
                uses.mend()
            code = place.end(process)
        finally:
            uses.mend()
        refused = at_start and code == 2 and process.complained.count("\n") == 1
        if code != 0 and not refused:
            place.problems.append(f"a job whose server {fault} ended with {code}: {process.complained.strip()[-300:]}")
        place.facts["ended"] = (
            "refused" if refused else "kept here" if (place.work / "kd_lab_rescue").exists() else "told"
        )
        place.run("sync")
        if code == 0:
            place.facts["found again"] = "nothing is trained" in place.again(*arguments).said
        else:
            place.again(*arguments)
        place.check(store=uses.server.folder / SERVER, study=study)

    return act
