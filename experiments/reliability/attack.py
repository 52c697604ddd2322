"""Attacks real `kd-lab` commands, each in a folder of its own, and looks whether anything was lost.

    python -m experiments.reliability.attack                        # all of them
    python -m experiments.reliability.attack --minutes 20           # as many as there is time for; again: the others
    python -m experiments.reliability.attack --only files --again   # a kind anew

From the root of a clone. Writes results.json beside it, an attack at a time, and the table in docs/reliability.md.
Small file systems need root, or `unshare -rm` before the command; where there are none, their attacks are left out.
"""

import argparse
import hashlib
import json
import multiprocessing
import os
import platform
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from experiments.reliability.ends import (
    FULL,
    JOB,
    SWEEP,
    VICTIMS,
    Templates,
    can_mount,
    full_disk,
    killed,
    signalled,
    small_files,
)
from experiments.reliability.files import KINDS, Kind, hostile
from experiments.reliability.place import STORE, Place, weights
from experiments.reliability.report import WHOLE, write_page
from experiments.reliability.servers import FAULTS, Rig, faulty
from experiments.reliability.stores import SPOILT, spoilt, spoilt_states
from tests.integration.nursery import Nursery

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
RESULTS = HERE / "results.json"
FIRST_JOB_S = 9.0
"""What a job takes that makes its store, where nothing else runs."""
SLOW = ("sweep", "two at once", "search")
"""What takes longest comes last."""
Act = Callable[[Place], None]


def attacks(templates: Templates, rig: Callable[[], Rig], *, mounts: bool) -> dict[str, dict[str, Act]]:
    """All of them, by kind and name."""
    of = partial(killed, templates)
    kills = {
        f"{n} job {(n % 2 and 'alone') or 'with all of it'}": of(VICTIMS["job"], all_of_it=not n % 2) for n in range(34)
    }
    for name, count in {"sweep": 6, "two at once": 4, "search": 4, "evaluate": 4, "export safetensors": 4, "export onnx": 4, "predict": 2, "compare": 2}.items():  # noqa: E501 # fmt: skip
        kills |= {f"{n} {name}": of(VICTIMS[name], all_of_it=bool(n % 2)) for n in range(count)}
    ctrl_c, term, hup = [signal.SIGINT], [signal.SIGTERM], [signal.SIGHUP]
    signals = {}
    for label, numbers in {"SIGINT": ctrl_c, "SIGTERM": term, "SIGHUP": hup, "SIGINT four times": ctrl_c * 4}.items():
        for n in range(4):
            signals[f"{n} job {label}"] = signalled(templates, VICTIMS["job"], *numbers, cold=n == 3)
        for name in ("sweep", "evaluate"):
            signals[f"{name} {label}"] = signalled(templates, VICTIMS[name], *numbers, cold=False)
    sizes = [900, 1150, 1180, 1210, 1240, 1300, 1500, 2000, 4000, 8000]
    disks = {f"{kib} KiB": full_disk(templates, kib, FULL) for kib in sizes} if mounts else {}
    disks |= {"sweep on 1300 KiB": full_disk(templates, 1300, SWEEP)} if mounts else {}
    disks |= {f"files of {kib} KiB": small_files(templates, kib, FULL) for kib in (200, 1160, 1200, 1400)}
    ends = {"all of the job": (True, False), "a part of it": (False, False), "from the start": (True, True)}
    servers = {
        f"{fault}, {during}": faulty(rig, fault, number * 10 + place, whole_job=whole, at_start=start)
        for number, fault in enumerate(FAULTS, 1)
        for place, (during, (whole, start)) in enumerate(ends.items())
    }
    files = {f"{WHOLE}{name}": partial(_whole, kind) for name, kind in KINDS.items()}
    files |= {name: partial(_spoilt_file, *one) for name, one in hostile().items()}
    kept = {name: spoilt(templates, one) for name, one in SPOILT.items()} | {"states: noise": spoilt_states(templates)}
    return {"files": files, "kept": kept, "disks": disks, "kills": kills, "signals": signals, "servers": servers}


def _whole(kind: Kind, place: Place) -> None:
    """The file as it should be is taken: what is refused of the others is what is wrong with them."""
    kind.make(place.work)
    place.run(*kind.command)
    place.check()


def _spoilt_file(kind: Kind, spoil: Callable[[Path], object], expected: tuple[int, ...], place: Place) -> None:
    kind.make(place.work)
    spoil(place.work / kind.file)
    before = sorted(place.work.rglob("*"))
    said = []
    for _ in range(2):
        process = place.begin(*kind.command)
        code = place.end(process, *expected, within=120)
        said.append(process.complained)
        if code == 2 and sorted(place.work.rglob("*")) != before:
            place.problems.append("something was written, although it was refused")
        if code and not re.fullmatch("kd-lab: [^\n]+\n", process.complained):
            place.problems.append(f"not one sentence: {process.complained[-400:]}")
    place.facts["said"] = _anywhere(said[0], place.root)[:300]
    if said[0] != said[1]:
        place.problems.append(f"said another thing the second time: {said[1][:300]}")
    if (place.work / "owned").exists() or Path("/tmp/owned").exists():
        place.problems.append("code in it was run")
    place.check()


def _anywhere(text: str, root: Path) -> str:
    """What was said, without the names of this machine's folders."""
    for folder, name in ((root, "FOLDER"), (ROOT, "CLONE"), (Path(sys.prefix), "PYTHON"), (Path.home(), "HOME")):
        text = text.replace(str(folder), name)
    return text


def _prepared(root: Path, nursery: Nursery) -> Templates:
    made = Place(root / "finished", nursery, random.Random(0))
    began = time.monotonic()
    process = made.begin(*JOB)
    made.end(process, 0)
    pace = max(1.0, (time.monotonic() - began) / FIRST_JOB_S)
    if made.problems:
        raise SystemExit(f"an undisturbed job failed: {made.problems}\n{process.said}")
    np.savez(made.work / "new.npz", X=np.random.default_rng(0).standard_normal((50, 20)).astype(np.float32))
    found = re.search(r"student ([0-9a-f]{8})", process.said)
    assert found is not None
    (student,) = (path.name for path in (made.work / "mlartifacts" / "synthetic").glob(f"{found[1]}*"))
    from kd_lab.store.store import Store

    empty = root / "empty.db"
    Store.open(f"sqlite:///{empty}", "unused")
    return Templates(empty, made.work, weights(made.work / STORE), student, pace)


def work(queue: Any, results: Any, root: Path, until: float, *, mounts: bool) -> None:
    """Take attacks until there are no more, or no more time."""
    nursery = Nursery()
    (root / "server").mkdir(parents=True)
    rigs: list[Rig] = []

    def rig() -> Rig:
        if not rigs:
            rigs.append(Rig.begin(root / "server"))
        return rigs[0]

    try:
        known = attacks(_prepared(root, nursery), rig, mounts=mounts)
        while time.time() < until and (taken := queue.get()) is not None:
            kind, name = taken
            started = time.time()
            seed = int.from_bytes(hashlib.sha256(f"{kind} {name}".encode()).digest()[:4], "big")
            place = Place(root / "attack", nursery, random.Random(seed))
            try:
                known[kind][name](place)
            except Exception as error:  # the attack itself failed, which is told like any other problem
                place.problems.append(f"{type(error).__name__}: {error}")
            said = {
                file.name: _anywhere(file.read_text(errors="replace")[-1500:], root)
                for file in place.root.glob("said-*-err.txt")
            }
            facts = place.facts | ({"said": said} if place.problems else {})
            seconds = round(time.time() - started, 1)
            problems = [_anywhere(" ".join(one.split())[:500], root) for one in place.problems]
            results.put((kind, name, {"problems": problems, "seconds": seconds, "commit": commit()} | facts))
            place.remove()
    finally:
        for one in rigs:
            one.close()
        nursery.close()
        results.put(None)


def main() -> None:
    """Attack, keep every result, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=600)
    parser.add_argument("--only", nargs="*", help="kinds, or kinds with a part of a name: kills files:npz")
    parser.add_argument("--again", action="store_true", help="also what was done before")
    parser.add_argument("--failed", action="store_true", help="also what was done before and found a problem")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    results = json.loads(options.results.read_text()) if options.results.exists() else {}
    os.environ |= {"OMP_NUM_THREADS": "1"}
    mounts = can_mount()
    empty = Templates(Path(), Path(), {}, "")
    known = attacks(empty, lambda: None, mounts=mounts)  # type: ignore[arg-type,return-value]
    todo = [
        (kind, name)
        for kind, named in known.items()
        for name in named
        if _chosen(kind, name, options.only) and _is_due(results.get(kind, {}).get(name), options)
    ]
    random.Random(0).shuffle(todo)
    todo.sort(key=lambda one: any(slow in one[1] for slow in SLOW))
    print(f"{len(todo)} attacks to be made by {options.workers} workers")
    until = time.time() + 60 * options.minutes
    with tempfile.TemporaryDirectory(prefix="kd-lab-attacks-", ignore_cleanup_errors=True) as folder:
        for kind, name, result in _made(todo, Path(folder), until, options.workers, mounts=mounts):
            results.setdefault(kind, {})[name] = result
            results["made"] = made_on()
            options.results.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
            print(
                f"{kind}: {name}: {'; '.join(result['problems']) or 'nothing lost'} ({result['seconds']} s)", flush=True
            )
    if options.results == RESULTS:
        there_are = {kind: sum(not name.startswith(WHOLE) for name in named) for kind, named in known.items()}
        write_page(results, there_are, ROOT / "docs" / "reliability.md")


def _made(todo: list[tuple[str, str]], folder: Path, until: float, workers: int, *, mounts: bool):  # type: ignore[no-untyped-def]
    context = multiprocessing.get_context("spawn")
    queue, done = context.Queue(), context.Queue()
    for one in [*todo, *[None] * workers]:
        queue.put(one)
    processes = []
    for number in range(min(workers, len(todo))):
        arguments = (queue, done, folder / f"worker-{number}", until)
        processes.append(context.Process(target=work, args=arguments, kwargs={"mounts": mounts}))
        processes[-1].start()
    left = len(processes)
    while left:
        result = done.get()
        if result is None:
            left -= 1
        else:
            yield result
    for process in processes:
        process.join()


def _chosen(kind: str, name: str, only: list[str] | None) -> bool:
    return only is None or any(kind == one.partition(":")[0] and one.partition(":")[2] in name for one in only)


def _is_due(result: dict[str, Any] | None, options: argparse.Namespace) -> bool:
    return result is None or options.again or (options.failed and bool(result["problems"]))


def commit() -> str:
    """Of the code that is attacked."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()


def made_on() -> dict[str, str]:
    """The machine, the versions and the commit."""
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    facts = {name: version(name) for name in ("torch", "mlflow")}
    return {
        "date": time.strftime("%Y-%m-%d"), "commit": commit(), "python": platform.python_version(),
        "cpu": cpu[1] if cpu else platform.machine(), "cores": str(os.cpu_count()), **facts,
    }  # fmt: skip


if __name__ == "__main__":
    main()
