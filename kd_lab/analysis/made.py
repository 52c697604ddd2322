"""How runs were made: study, commands, code, versions and machine, as their tags tell."""

from datetime import UTC, datetime
from importlib import metadata

import pandas as pd

from kd_lab.errors import masked
from kd_lab.names import (
    TAG_CPU,
    TAG_CPU_CORES,
    TAG_DATA_FINGERPRINT,
    TAG_DEVICE,
    TAG_GIT_COMMIT,
    TAG_GIT_DIRTY,
    TAG_PARENT,
    TAG_PLATFORM,
    TAG_THREADS,
    TAG_VERSION,
)
from kd_lab.store.reading import Reader, reading

MAX_RUNS = 100
"""So many runs, the newest, are asked."""
SWEEP = "sweep "
SEVERAL = ", "


def made(students: pd.DataFrame, uri: str, command: str) -> dict[str, str]:
    """By name of the fact; several values where runs differ in it, nothing where none has it.

    Args:
        students: rows of `kd_lab.analysis.runs.pairs`.
        uri: the store that they are in.
        command: what the user typed to compare them.
    """
    newest = students.sort_values("start_time", ascending=False)["student_run"].head(MAX_RUNS)
    with reading(uri) as reader:
        tags = [record.tags for record in reader.of_ids(list(newest))]
        sweeps = _sweeps(reader, tags)

    def values_of(tag: str) -> list[str]:
        return sorted({own[tag] for own in tags if own.get(tag)})

    keys = sorted({key for own in tags for key in own if key.startswith(TAG_VERSION)})
    forms = {
        TAG_CPU: "{}",
        TAG_CPU_CORES: "{} cores",
        TAG_PLATFORM: "{}",
        TAG_DEVICE: "device {}",
        TAG_THREADS: "threads {}",
    }
    machine = [form.format(SEVERAL.join(found)) for tag, form in forms.items() if (found := values_of(tag))]
    first, last = (f"{time:%Y-%m-%d %H:%M}" for time in (students["start_time"].min(), students["start_time"].max()))
    facts = {
        "study": SEVERAL.join(sorted(students["study"].astype(str).unique())),
        "store": masked(uri),
        "runs made by": "; ".join(sweeps),
        "runs": f"{len(students)} students, started {first} to {last} UTC",
        "data": SEVERAL.join(f"sha256 {value[:12]}" for value in values_of(TAG_DATA_FINGERPRINT)),
        "code": SEVERAL.join(sorted({_commit(own) for own in tags} - {""})),
        "versions": SEVERAL.join(f"{key.removeprefix(TAG_VERSION)} {SEVERAL.join(values_of(key))}" for key in keys),
        "machine": SEVERAL.join(machine),
        "this page": f"{masked(command)}; kd-lab {metadata.version('kd-lab')}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
    }
    return {name: value for name, value in facts.items() if value}


def _commit(tags: dict[str, str]) -> str:
    commit = tags.get(TAG_GIT_COMMIT, "")[:12]
    return f"{commit} with changes" if commit and tags.get(TAG_GIT_DIRTY) == "true" else commit


def _sweeps(reader: Reader, tags: list[dict[str, str]]) -> list[str]:
    """The commands of the sweeps that these runs belong to."""
    parents = dict.fromkeys(own[TAG_PARENT] for own in tags if own.get(TAG_PARENT))
    names = [record.name for record in reader.of_ids(list(parents))] if parents else []
    return [f"kd-lab -m {name.removeprefix(SWEEP)}" for name in names if name.startswith(SWEEP)]
