"""A folder that is attacked: commands in it, the same command again, and what must be true afterwards."""

import getpass
import hashlib
import json
import os
import random
import shutil
import sqlite3
import time
import zipfile
from collections import Counter
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
import yaml
from matplotlib import get_cachedir
from safetensors.torch import load_file

from kd_lab import names
from tests.integration.nursery import LIMIT, Nursery, Process

LONGEST_S = 400.0
OLD_S = 3600.0
STORE, SERVER = "mlflow.db", "server.db"


@dataclass
class Place:
    """One attack's own folder: `work`, where the commands stand, their HOME and their TMPDIR.

    problems: what was not as it must be, in sentences. facts: of the attack, kept beside its result.
    """

    root: Path
    nursery: Nursery
    chance: random.Random
    problems: list[str] = field(default_factory=list)
    facts: dict[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for folder in (self.work, self.tmp, self.root / "home"):
            folder.mkdir(parents=True)

    @property
    def work(self) -> Path:
        """Where the commands stand."""
        return self.root / "work"

    @property
    def tmp(self) -> Path:
        """Their folder for what is temporary."""
        return self.root / "tmp"

    def begin(self, *arguments: str, cold: bool = False, limit: int | None = None) -> Process:
        """Start a command. limit: bytes that a file of its may have (RLIMIT_FSIZE)."""
        environment = {
            "HOME": str(self.root / "home"),
            "TMPDIR": str(self.tmp),
            "COLUMNS": "120",
            "MPLCONFIGDIR": get_cachedir(),
        }
        if limit is not None:
            environment[LIMIT] = str(limit)
        return self.nursery.start(arguments, self.work, self.root, environment, cold=cold)

    def end(self, process: Process, *expected: int, within: float = LONGEST_S) -> int | None:
        """Wait for a command; it must end with one of these codes, and never print a traceback."""
        code = process.wait(within)
        if code is None:
            self.problems.append(f"it did not end within {within:.0f} s")
            process.signal(9, group=True)
            process.wait(10)
        elif expected and code not in expected:
            self.problems.append(f"ended with {code}, expected {' or '.join(map(str, expected))}: {_last(process)}")
        for sign in ("Traceback (most recent call last)", "Exception ignored", "Segmentation fault"):
            if sign in process.said:
                self.problems.append(f"printed {sign!r}: {_last(process)}")
        self.facts.setdefault("codes", []).append(code)  # type: ignore[attr-defined]
        return code

    def run(self, *arguments: str, expected: int = 0) -> Process:
        """A command from its start to its end."""
        process = self.begin(*arguments)
        self.end(process, expected)
        return process

    def again(self, *arguments: str) -> Process:
        """The same command after an attack, when some time has gone by; it must succeed."""
        self.alone()
        for path in [*self.tmp.rglob("*"), *self.work.rglob("*.lock"), *self.work.glob(".kd_lab_export_*")]:
            with suppress(OSError):
                os.utime(path, (time.time() - OLD_S, time.time() - OLD_S))
        return self.run(*arguments)

    def alone(self, seconds: float = 90) -> None:
        """Wait until no process stands here any more."""
        deadline = time.monotonic() + seconds
        while left := _standing(self.work):
            if time.monotonic() > deadline:
                self.problems.append(f"{len(left)} processes went on for {seconds:.0f} s")
                for process in left:
                    process.kill()
                return
            time.sleep(0.1)

    def check(self, *, store: Path | None = None, study: str | None = None, once: bool = True) -> None:
        """Look at all that is left. store: the database. once: what was finished may not have been done again."""
        self.alone()
        database = store or self.work / STORE
        if database.exists():
            self.problems += store_problems(database, study, once=once)
        self.problems += [f"left behind: {path}" for path in self.leftovers()]

    def leftovers(self) -> list[str]:
        """Temporary files, locks, states and kept runs that nobody needs any more."""
        locks = [path for path in self.work.glob("*.locks/*") if path.name != "id"]
        locks += [path for path in self.root.glob("home/.cache/kd-lab/locks/*/*") if path.name not in OF_A_SERVER]
        named = ("kd_lab_rescue", "*.checkpoints", ".kd-lab-sweep-*", "*.part", ".kd_lab_export_*", "*-journal")
        temporary = [path for path in self.tmp.iterdir() if path.name not in OF_OTHERS]
        found = [*locks, *temporary, *(path for name in named for path in self.work.rglob(name))]
        return sorted(str(path.relative_to(self.root)) for path in found)

    def remove(self) -> None:
        """Of the disk."""
        shutil.rmtree(self.root, ignore_errors=True)


OF_A_SERVER = ("id", "creation.lock")
OF_OTHERS = {".ses", f"torchinductor_{getpass.getuser()}"}
"""What onnxruntime and torch make wherever they are imported, and use again: a file of 51 bytes, a folder."""


def store_problems(database: Path, study: str | None = None, *, once: bool = True) -> list[str]:
    """What of the runs of a store, or of one study of it, is not as it must be."""
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True, timeout=30)) as connection:
        which = "FROM runs JOIN experiments e USING (experiment_id)" + (" WHERE e.name = ?" if study else "")
        asked = (study,) if study else ()
        runs = list(connection.execute(f"SELECT run_uuid, status, artifact_uri {which}", asked))
        tags: dict[str, dict[str, str]] = {run_id: {} for run_id, _, _ in runs}
        for run_id, key, value in connection.execute("SELECT run_uuid, key, value FROM tags"):
            tags.get(run_id, {})[key] = value
        measured = {run_id for (run_id,) in connection.execute("SELECT run_uuid FROM latest_metrics WHERE key = ?", (names.TEST_ACCURACY_TOP1,))}  # noqa: E501 # fmt: skip
    found = [f"run {run_id[:8]} is {status}" for run_id, status, _ in runs if status not in ENDED]
    done = [(run_id, uri) for run_id, status, uri in runs if status == "FINISHED"]
    for run_id, uri in done:
        role = tags[run_id].get(names.TAG_ROLE, "")
        if role in names.ROLES:
            if run_id not in measured:
                found.append(f"{role} {run_id[:8]} is FINISHED without an accuracy")
            found += [
                f"{role} {run_id[:8]}: {one}" for one in run_problems(_artifacts(uri, database), role, tags[run_id])
            ]
    if once:
        for tag, roles in ((names.TAG_KEY, names.ROLES), (names.TAG_JOB_KEY, (names.STUDENT,))):
            keys = [tags[run_id].get(tag, run_id) for run_id, _ in done if tags[run_id].get(names.TAG_ROLE) in roles]
            found += [f"done {n} times: {tag} {key[:8]}" for key, n in Counter(keys).items() if n > 1]
    return found


ENDED = ("FINISHED", "FAILED", "KILLED")


def run_problems(folder: Path, role: str, tags: dict[str, str]) -> list[str]:
    """What of a finished run's files is not as its record says."""
    try:
        tensors = load_file(folder / names.ARTIFACT_WEIGHTS)
        with np.load(folder / names.ARTIFACT_PREDICTIONS, allow_pickle=False) as predictions:
            count = len(predictions[names.SAMPLE_TARGET])
        config = yaml.safe_load((folder / names.ARTIFACT_CONFIG).read_text())
        json.loads((folder / names.ARTIFACT_NETWORK).read_text())
        report = (folder / names.ARTIFACT_REPORT).read_text() if role == names.STUDENT else "-"
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, yaml.YAMLError) as error:
        return [f"{type(error).__name__}: {error}"]
    found = []
    if hashed(tensors) != tags.get(names.TAG_WEIGHTS_SHA256):
        found.append("its weights have another hash")
    if str(count) != tags.get(names.TAG_TEST_SAMPLES, str(count)):
        found.append(f"{count} predictions of {tags[names.TAG_TEST_SAMPLES]} samples")
    return found + ([] if config and report else ["an empty config or report"])


def hashed(tensors: "dict[str, object]") -> str:
    """As kd_lab.models.common.weights has it, of a file whose tensors are all the network's."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())  # type: ignore[attr-defined]
        digest.update(tensor.contiguous().numpy().tobytes())  # type: ignore[attr-defined]
    return digest.hexdigest()


def weights(database: Path) -> dict[str, set[str]]:
    """The hashes of the weights of all finished networks, by role."""
    rule = (
        "SELECT r.value, w.value FROM runs JOIN tags r USING (run_uuid) JOIN tags w USING (run_uuid) "
        "WHERE status = 'FINISHED' AND r.key = ? AND w.key = ?"
    )
    found: dict[str, set[str]] = {}
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True, timeout=30)) as connection:
        for role, sha256 in connection.execute(rule, (names.TAG_ROLE, names.TAG_WEIGHTS_SHA256)):
            found.setdefault(role, set()).add(sha256)
    return found


def moved(template: Path, place: Path) -> None:
    """Copy a folder with a store to another place, and have its runs know where they are."""
    shutil.copytree(template, place, dirs_exist_ok=True)
    with closing(sqlite3.connect(place / STORE)) as store, store:
        for table, column in (("runs", "artifact_uri"), ("experiments", "artifact_location")):
            store.execute(f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (str(template), str(place)))


def _artifacts(uri: str, database: Path) -> Path:
    if uri.startswith("mlflow-artifacts:/"):
        return database.parent / "served" / uri.removeprefix("mlflow-artifacts:/").lstrip("/")
    return Path(uri.removeprefix("file://"))


def _standing(folder: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.status() != psutil.STATUS_ZOMBIE and Path(process.cwd()).is_relative_to(folder):
                found.append(process)
    return found


def _last(process: Process) -> str:
    lines = [line for line in process.complained.strip().splitlines() if line.strip()] or ["(nothing said)"]
    return lines[-1][:300]
