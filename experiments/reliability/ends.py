"""Commands that are ended: killed, interrupted by signals, and those whose disk is full."""

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from experiments.reliability.place import STORE, Place, moved, weights
from tests.integration.nursery import Process
from tests.integration.processes import standing_in

QUICK = ["measure.latency_runs=1", "measure.latency_warmup=1", "measure.figures=false", "checkpoint.every_s=0.1"]
SMALL = ["dataset=synthetic", "teacher=mlp", "teacher.recipe.steps=300", "student.recipe.steps=600", *QUICK]
JOB = [*SMALL, "student.reuse=true"]
SWEEP = ["-m", "seed=0,1", *SMALL, "baseline=false"]
TWO_AT_ONCE = ["-m", "seed=0,1,2", *SMALL, "sweep.jobs=2"]
SEARCH = [
    "-m",
    "sweep=optuna",
    "dataset.validation=100",
    "sweep.search.trials=3",
    "sweep.search.final_seeds=[1]",
    *SMALL,
]
FULL = [*JOB, "teacher.widths=[1500]", "student.widths=[400]"]


@dataclass(frozen=True)
class Victim:
    """A command. seconds: about how long it takes where nothing else runs; the moment of an attack is drawn from it.

    of_finished: whether it stands where a job is finished. once: whether what it finished may not be done again.
    """

    name: str
    arguments: tuple[str, ...]
    seconds: float
    of_finished: bool = False


VICTIMS = {
    "job": Victim("job", tuple(JOB), 4.0),
    "sweep": Victim("sweep", tuple(SWEEP), 16.0),
    "two at once": Victim("two at once", tuple(TWO_AT_ONCE), 20.0),
    "search": Victim("search", tuple(SEARCH), 20.0),
    "evaluate": Victim("evaluate", ("evaluate", "run=STUDENT"), 1.5, of_finished=True),
    "export safetensors": Victim(
        "export", ("export", "run=STUDENT", "format=safetensors", "out=it.safetensors", "overwrite=true"), 1.5, True
    ),
    "export onnx": Victim(
        "export", ("export", "run=STUDENT", "format=onnx", "out=it.onnx", "overwrite=true"), 5.0, True
    ),
    "predict": Victim("predict", ("predict", "run=STUDENT", "new.npz"), 1.0, True),
    "compare": Victim("compare", ("compare", "synthetic", "--out", "results"), 3.0, True),
}


@dataclass(frozen=True)
class Templates:
    """Folders that attacks begin with: an empty store, and one with a finished job; what that trained, by role.

    pace: how many times as long as where nothing else runs a command takes at present.
    """

    empty: Path
    finished: Path
    trained: dict[str, set[str]]
    student: str
    pace: float = 1.0

    def prepare(self, place: Place, victim: Victim, *, store: bool = True) -> list[str]:
        """Bring there what the command needs; the command in full."""
        if victim.of_finished:
            moved(self.finished, place.work)
        elif store:
            shutil.copy(self.empty, place.work / STORE)
        return [one.replace("STUDENT", self.student) for one in victim.arguments]


def killed(templates: Templates, victim: Victim, *, all_of_it: bool) -> Callable[[Place], None]:
    """SIGKILL at a random moment: of the process alone, or of all that it started, as where the power ends."""

    def act(place: Place) -> None:
        arguments = templates.prepare(place, victim, store=place.chance.random() < 0.7)
        process = place.begin(*arguments)
        code = _struck(
            place, process, victim, lambda: _kill(process, place.work if all_of_it else None), templates.pace
        )
        if code not in (0, -signal.SIGKILL):
            place.problems.append(f"ended with {code}")
        _afterwards(templates, place, victim, arguments)

    return act


def signalled(templates: Templates, victim: Victim, *numbers: signal.Signals, cold: bool) -> Callable[[Place], None]:
    """A signal, or several, a tenth of a second apart."""

    def act(place: Place) -> None:
        arguments = templates.prepare(place, victim)
        process = place.begin(*arguments, cold=cold)

        def strike() -> None:
            for number in numbers:
                process.signal(number)
                process.wait(0.1)

        late = replace(victim, seconds=victim.seconds + 5) if cold else victim
        code = _struck(place, process, late, strike, templates.pace)
        early = cold and not process.said.strip()  # the interpreter itself, before kd-lab is asked
        if code not in (0, 130, *((-number for number in numbers) if early else ())):
            place.problems.append(f"ended with {code}, expected 130: {process.complained.strip()[-300:]}")
        _afterwards(templates, place, victim, arguments)

    return act


def full_disk(templates: Templates, kib: int, arguments: list[str]) -> Callable[[Place], None]:
    """A file system of so many KiB; the same command again where there is more."""

    def act(place: Place) -> None:
        with small_disk(place.work, kib):
            try:
                shutil.copy(templates.empty, place.work / STORE)
            except OSError:
                (place.work / STORE).unlink()
            process = place.begin(*arguments)
            code = place.end(process, 0, 1)
            if code == 1 and "the disk is full" not in process.complained:
                place.problems.append(f"not told that the disk is full: {process.complained.strip()[-300:]}")
            subprocess.run(["mount", "-o", "remount,size=256m", str(place.work)], check=True)
            place.again(*arguments)
            place.check()

    return act


def small_files(templates: Templates, kib: int, arguments: list[str]) -> Callable[[Place], None]:
    """No file may be larger (`ulimit -f`), as where a quota ends; needs no rights."""

    def act(place: Place) -> None:
        shutil.copy(templates.empty, place.work / STORE)
        process = place.begin(*arguments, limit=kib * 1024)
        place.end(process, 0, 1, 2)
        place.again(*arguments)
        place.check()

    return act


def can_mount() -> bool:
    """Whether a small file system can be had: as root, or in a namespace of one's own (`unshare -rm`)."""
    probe = Path("/tmp") / f"kd-lab-attack-probe-{os.getpid()}"
    probe.mkdir()
    try:
        with small_disk(probe, 64):
            return True
    except subprocess.CalledProcessError:
        return False
    finally:
        probe.rmdir()


@contextmanager
def small_disk(folder: Path, kib: int) -> Iterator[None]:
    """A tmpfs of so many KiB there."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(folder)]
    subprocess.run(mount, check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def _struck(place: Place, process, victim: Victim, strike: Callable[[], None], pace: float) -> int | None:  # type: ignore[no-untyped-def]
    moment = place.chance.uniform(0.05, 1.0) * victim.seconds * pace
    place.facts["moment_s"] = round(moment, 2)
    done = process.wait(moment) is not None
    place.facts["was"] = "done before" if done else "struck"
    if not done:
        strike()
    return place.end(process)


def _kill(process: Process, all_in: Path | None) -> None:
    """all_in: the folder where all that it started stands; None: it alone."""
    started = standing_in(all_in) if all_in else []
    process.signal(signal.SIGKILL)
    for one in started:
        with suppress(psutil.NoSuchProcess):
            one.kill()


def _afterwards(templates: Templates, place: Place, victim: Victim, arguments: list[str]) -> None:
    again = place.again(*arguments)
    place.facts["went on"] = again.said.count(": goes on at step ")
    place.check()
    if victim.name == "job" and (found := weights(place.work / STORE)) != templates.trained:
        place.problems.append(f"other weights than those of an uninterrupted job: {found}")
