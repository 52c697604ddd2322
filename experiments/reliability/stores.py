"""What kd-lab itself keeps beside a finished job, made hostile: the store, its artifacts, answers, states, journals."""

import shutil
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.torch import load_file, save_file

from experiments.reliability.ends import JOB, SEARCH, SMALL, SWEEP, VICTIMS, Templates
from experiments.reliability.place import STORE, Place, moved, weights
from kd_lab import names

EVALUATE, PREDICT = ("evaluate", "run=STUDENT"), ("predict", "run=STUDENT", "new.npz")
ANOTHER = (*SMALL, "loss.temperature=3")
MORE = tuple("seed=0,1" if one == "seed=0,1" else one for one in SWEEP)


@dataclass(frozen=True)
class Spoilt:
    """A file or folder below `work` that is spoilt, the command that meets it, and the exit codes that are right.

    where: below work; STUDENT is the folder of the student's artifacts.
    """

    where: str
    spoil: Callable[[Path], object]
    command: tuple[str, ...]
    expected: tuple[int, ...]


def cut(path: Path) -> None:
    """A file that ends in its middle."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def noise(path: Path) -> None:
    """Random bytes, as many as before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(np.random.default_rng(1).bytes(path.stat().st_size if path.exists() else 3000))


def empty(path: Path) -> None:
    """Nothing in it."""
    path.write_bytes(b"")


def flipped(path: Path) -> None:
    """One bit of a tensor."""
    tensors = load_file(path)
    first = next(iter(tensors.values()))
    first.view(-1)[0] += 2.0**-10
    save_file(tensors, path)


def a_file(path: Path) -> None:
    """A file where a folder is expected."""
    path.write_text("I am a file")


def in_place_of_a_folder(path: Path) -> None:
    """A file where there was one."""
    shutil.rmtree(path)
    a_file(path)


def text(content: str) -> Callable[[Path], object]:
    """This text in the place of what was there."""

    def write(path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)

    return write


def of_another_program(path: Path) -> None:
    """A SQLite file with a table of its own."""
    path.unlink()
    with closing(sqlite3.connect(path)) as file:
        file.execute("CREATE TABLE songs (title TEXT)")
        file.commit()


def holes(path: Path) -> None:
    """Noise in the middle of a SQLite file."""
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 3 : 2 * len(raw) // 3] = np.random.default_rng(1).bytes(2 * len(raw) // 3 - len(raw) // 3)
    path.write_bytes(raw)


def every(spoil: Callable[[Path], object]) -> Callable[[Path], object]:
    """All files below a folder."""
    return lambda folder: [spoil(path) for path in folder.rglob("*") if path.is_file()]


LONGEST = 12
"""Lines of a refusal: one, or of a sweep its jobs and their reasons."""
DEEP = "[" * 100_000
PYTHON = "seed: !!python/object/apply:os.system [touch owned]\n"
RUN = "kd_lab_rescue/" + "0123456789abcdef" * 2
WEIGHTS, PREDICTIONS = f"STUDENT/{names.ARTIFACT_WEIGHTS}", f"STUDENT/{names.ARTIFACT_PREDICTIONS}"
NETWORK, CONFIG = f"STUDENT/{names.ARTIFACT_NETWORK}", f"STUDENT/{names.ARTIFACT_CONFIG}"
COMPARE = ("compare", "synthetic", "--out", "results")
SPOILT = {
    "mlflow.db: empty, compare": Spoilt(STORE, empty, COMPARE, (2,)),
    "mlflow.db: cut, job": Spoilt(STORE, cut, tuple(JOB), (2,)),
    "mlflow.db: cut, compare": Spoilt(STORE, cut, COMPARE, (2,)),
    "mlflow.db: noise, job": Spoilt(STORE, noise, tuple(JOB), (2,)),
    "mlflow.db: noise, sync": Spoilt(STORE, noise, ("sync", f"tracking.uri=sqlite:///{STORE}"), (0, 2)),
    "mlflow.db: noise, sweep": Spoilt(STORE, noise, tuple(SWEEP), (2,)),
    "mlflow.db: holes, evaluate": Spoilt(STORE, holes, EVALUATE, (2,)),
    "mlflow.db: of another program": Spoilt(STORE, of_another_program, tuple(JOB), (2,)),
    "mlflow.db: a folder": Spoilt(STORE, lambda p: (p.unlink(), p.mkdir()), tuple(JOB), (2,)),
    "mlflow.db.locks: a file": Spoilt("mlflow.db.locks", in_place_of_a_folder, ANOTHER, (2,)),
    "mlflow.db.answers: noise": Spoilt("mlflow.db.answers", every(noise), ANOTHER, (0,)),
    "mlflow.db.answers: cut": Spoilt("mlflow.db.answers", every(cut), ANOTHER, (0,)),
    "mlflow.db.checkpoints: a file": Spoilt("mlflow.db.checkpoints", a_file, ANOTHER, (0,)),
    "mlflow.db.optuna: noise": Spoilt("mlflow.db.optuna", noise, tuple(SEARCH), (2,)),
    "kd_lab_rescue: noise, sync": Spoilt(f"{RUN}/run.json", noise, ("sync",), (0, 2)),
    "kd_lab_rescue: noise, job": Spoilt(f"{RUN}/run.json", noise, ANOTHER, (0,)),
    "kd_lab_rescue: a file": Spoilt("kd_lab_rescue", a_file, ANOTHER, (2,)),
    "mlartifacts: a file": Spoilt("mlartifacts", lambda p: (p.rename(p.with_name("away")), a_file(p)), ANOTHER, (0,)),
    "weights: cut, evaluate": Spoilt(WEIGHTS, cut, EVALUATE, (2,)),
    "weights: noise, predict": Spoilt(WEIGHTS, noise, PREDICT, (2,)),
    "weights: flipped, evaluate": Spoilt(WEIGHTS, flipped, EVALUATE, (0,)),
    "weights: flipped, job again": Spoilt(WEIGHTS, flipped, tuple(JOB), (0,)),
    "weights: noise, job again": Spoilt(WEIGHTS, noise, tuple(JOB), (0,)),
    "weights: flipped, teacher": Spoilt(WEIGHTS, flipped, (*SMALL, "teacher.weights=run:STUDENT"), (2,)),
    "weights: gone, export": Spoilt(
        WEIGHTS, Path.unlink, ("export", "run=STUDENT", "format=safetensors", "out=it.safetensors"), (2,)
    ),
    "predictions.npz: cut, compare": Spoilt(PREDICTIONS, cut, COMPARE, (0,)),
    "predictions.npz: noise, compare": Spoilt(PREDICTIONS, noise, COMPARE, (0,)),
    "predictions.npz: empty, sweep": Spoilt(PREDICTIONS, empty, MORE, (0,)),
    "network.json: deep": Spoilt(NETWORK, text(DEEP), EVALUATE, (2,)),
    "network.json: a program": Spoilt(
        NETWORK, text('{"node": {"_target_": "os.system", "command": "touch owned"}, "num_classes": 10, "input_shape": [20]}'), EVALUATE, (2,)  # noqa: E501
    ),
    "network.json: noise": Spoilt(NETWORK, noise, PREDICT, (2,)),
    "config.yaml: code": Spoilt(CONFIG, text(PYTHON), EVALUATE, (2,)),
    "config.yaml: deep": Spoilt(CONFIG, text("a: " + "[" * 5000), EVALUATE, (2,)),
}  # fmt: skip


def spoilt(templates: Templates, one: Spoilt) -> Callable[[Place], None]:
    """A finished job's folder, one thing of it spoilt, and a command that meets it, twice."""

    def act(place: Place) -> None:
        moved(templates.finished, place.work)
        student = next(
            path for path in (place.work / "mlartifacts" / "synthetic").glob(f"{templates.student}/artifacts")
        )
        one.spoil(place.work / one.where.replace("STUDENT", str(student.relative_to(place.work))))
        arguments = [part.replace("STUDENT", templates.student) for part in one.command]
        for _ in range(2):
            process = place.begin(*arguments)
            code = place.end(process, *one.expected)
            said = process.said if "-m" in arguments else process.complained  # a sweep tells of its jobs in a table
            if code and (("kd-lab: " not in said and "failed" not in said) or len(said.splitlines()) > LONGEST):
                place.problems.append(f"not one sentence: {process.complained[-300:]}")
        if (place.work / "owned").exists():
            place.problems.append("code in it was run")
        place.alone()

    return act


def spoilt_states(templates: Templates) -> Callable[[Place], None]:
    """The states of a job that was killed, all of them noise: it begins anew and ends as it would have."""

    def act(place: Place) -> None:
        arguments = templates.prepare(place, VICTIMS["job"])
        process = place.begin(*arguments)
        folder = place.work / f"{STORE}.checkpoints"
        while process.wait(0.02) is None:
            if list(folder.glob("*/*.state")):
                process.signal(signal.SIGKILL)
        place.end(process)
        for file in folder.glob("*/*.state"):
            noise(file)
        place.again(*arguments)
        place.check()
        if weights(place.work / STORE) != templates.trained:
            place.problems.append("other weights than those of an uninterrupted job")

    return act
