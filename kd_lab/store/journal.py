"""A run on the local disk: the folder `kd_lab_rescue/RUN_ID`, which holds what the store does not have yet.

    run.json        what the run is: everything that creates it
    log-PID.jsonl   parameters, tags, metrics and the end, as one process took them; emptied as the store takes them
    artifacts/      the artifacts

It exists while a run is written, so that neither a store that is away nor a killed process loses more than the moment,
and it is removed when the store has everything.

Such a folder may come from elsewhere, in a clone or an archive, or stand beside a store that others share: only one of
this user's own is read, of it only regular files, and it is for this user alone that it is made.
"""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from kd_lab.names import ARTIFACT_WEIGHTS
from kd_lab.outside.ids import is_run_id
from kd_lab.outside.paths import is_own_rescue, make_own_folder, read_text, regular
from kd_lab.store.entries import Entries, Point
from kd_lab.store.location import SQLITE, Location

MAX_LOG_BYTES = 2**31
HEADER = "run.json"
FILES = "artifacts"


@dataclass(frozen=True)
class Header:
    """What creates a run.

    local_id: the id that the run has whether or not the store knows it. run_id: the store's, None if it has none yet.
    """

    uri: str
    run_id: str | None = None
    local_id: str = ""
    study: str = ""
    name: str = ""
    started_ms: int = 0
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of_text(cls, text: str) -> "Header":
        """As `begin` wrote it.

        Raises:
            ValueError: it is something else.
        """
        try:
            found = cls(**json.loads(text))
            texts = [found.uri, found.study, found.name, *found.params.values(), *found.tags.values()]
            ids = [found.run_id or found.local_id, found.local_id or found.run_id]
        except (TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"no header of a run: {error}") from error
        if not all(isinstance(one, str) for one in texts) or not all(map(is_run_id, ids)):
            raise ValueError("no header of a run: expected texts, and ids of runs")
        if not isinstance(found.started_ms, int):
            raise ValueError("no header of a run: expected a time in milliseconds")
        Location.parse(found.uri)
        return found


class Journal:
    """The folder of one run, as one process sees it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = folder / FILES
        self._log: int | None = None

    def begin(self, header: Header) -> None:
        """Say what the run is."""
        self._make()
        self._replace(self.folder / HEADER, json.dumps(asdict(header), indent=1))

    def is_there(self) -> bool:
        """Whether a run was begun in this folder, which is this user's own."""
        return is_own_rescue(self.folder) and (self.folder / HEADER).is_file()

    def header(self) -> Header:
        """What the run is; where its folder was moved together with a SQLite file, that is its store.

        Raises:
            OSError: this is not the folder of a run, or no longer.
            ValueError: what it says is not what a run says.
        """
        header = Header.of_text(read_text(self.folder / HEADER))
        database = Location.parse(header.uri).database
        if database is None or database.exists():
            return header
        beside = self.folder.parent.absolute().with_name(database.name)
        return replace(header, uri=f"{SQLITE}{beside}") if beside.is_file() else header

    def append(self, entries: Entries) -> None:
        """Keep what was taken; it survives this process whatever happens to it."""
        if self._log is None:
            self._make()
            self._log = os.open(self._own(), os.O_NOFOLLOW | os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        line = entries.to_line().encode()
        while line:
            line = line[os.write(self._log, line) :]

    def reset(self, entries: Entries) -> None:
        """Keep only this of what the process took: the store has the rest."""
        if self._log is None:
            return
        if not entries:
            os.ftruncate(self._log, 0)
            return
        self.close()
        self._replace(self._own(), entries.to_line())

    def entries(self, *, of_others: bool = False) -> Entries:
        """What is kept, by all processes of the run or by all but this one."""
        found = Entries()
        for log in self._logs():
            if of_others and log == self._own():
                continue
            with suppress(OSError, ValueError):  # no file of its own, or no text
                for line in read_text(log, MAX_LOG_BYTES).splitlines():
                    with suppress(ValueError):  # a line that the machine did not finish
                        found.add(Entries.of_line(line))
        return found

    def go_on(self) -> None:
        """Forget how it ended, and what it said of that: it is written anew."""
        if self.entries().end is not None:
            for log in self._logs():
                log.unlink(missing_ok=True)

    def place(self, artifact: str) -> Path:
        """Where the artifact's content goes; its folder is made."""
        path = self.files / artifact
        self._make()
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def there(self, artifact: str) -> Path:
        """Where the artifact's content is.

        Raises:
            FileNotFoundError: there is none.
            UserError: it is not a file of its own in this folder.
        """
        return regular(self.files, artifact)

    def kept(self) -> list[str]:
        """The artifacts whose content is here, whole."""
        files = sorted(path for path in self.files.rglob("*") if path.is_file() and not path.name.startswith("."))
        return [path.relative_to(self.files).as_posix() for path in files]

    def close(self) -> None:
        """Close the log; `append` opens it again."""
        if self._log is not None:
            os.close(self._log)
            self._log = None

    def remove(self) -> None:
        """Remove the folder, at once as others see it, and the one above it when that was the last."""
        self.close()
        if not is_own_rescue(self.folder):
            return
        gone = self.folder.with_name(f".{self.folder.name}")
        with suppress(FileNotFoundError):
            self.folder.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)
        with suppress(OSError):
            self.folder.parent.rmdir()

    def _logs(self) -> list[Path]:
        """Of all processes, the one that wrote last at the end."""
        with suppress(FileNotFoundError):  # brought into its store meanwhile
            return sorted(self.folder.glob("log-*.jsonl"), key=lambda log: log.lstat().st_mtime_ns)
        return []

    def _own(self) -> Path:
        return self.folder / f"log-{os.getpid()}.jsonl"

    def _replace(self, path: Path, text: str) -> None:
        new = path.with_name(f".{path.name}-{os.getpid()}")
        new.write_text(text, encoding="utf-8")
        new.replace(path)

    def _make(self) -> None:
        for _ in range(10):  # another run that ends removes the folder above, if it is empty
            with suppress(FileNotFoundError):
                make_own_folder(self.folder)
                return
        make_own_folder(self.folder)


def journals(root: Path) -> list[Journal]:
    """The runs in a rescue folder that are this user's own, oldest first."""
    found = []
    for path in root.glob(f"*/{HEADER}"):
        journal = Journal(path.parent)
        if not is_own_rescue(journal.folder):
            continue
        with suppress(OSError, ValueError):
            header = journal.header()
            if journal.folder.name in (header.run_id, header.local_id):
                found.append((header.started_ms, journal.folder.name, journal))
    return [journal for _, _, journal in sorted(found, key=lambda entry: entry[:2])]


def finished_runs(root: Path, uri: str, tags: Mapping[str, str]) -> Iterator[Journal]:
    """The FINISHED runs for this store that were begun with these tags and whose weights are here, the newest first."""
    for journal in reversed(journals(root)):
        with suppress(OSError, ValueError):  # no weights, or brought into its store at this moment
            header = journal.header()
            if header.uri == uri and tags.items() <= header.tags.items():
                end = journal.entries().end
                if end is not None and end.status == "FINISHED" and journal.there(ARTIFACT_WEIGHTS):
                    yield journal


def last_values(points: list[Point]) -> dict[str, float]:
    """Each metric's value at its last step, as MLflow's run table shows it."""
    return {point.key: point.value for point in sorted(points, key=lambda point: (point.step, point.timestamp_ms))}
