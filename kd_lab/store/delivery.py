"""One run that was kept locally, brought into a store: completely, and once however often it is tried."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from kd_lab.errors import UserError
from kd_lab.names import ARTIFACT_JOBS, ARTIFACT_MLMODEL, ARTIFACT_REPORT, REFERENCES, TAG_REASON, TAG_ROLE
from kd_lab.outside.ids import is_run_id
from kd_lab.outside.paths import read_text, regular
from kd_lab.outside.scratch import scratch
from kd_lab.store.client import client, first_line, http_status, one_sentence
from kd_lab.store.creation import opened, study_id
from kd_lab.store.entries import Entries, send, unwritten
from kd_lab.store.journal import Header, Journal
from kd_lab.store.lease import alone
from kd_lab.store.location import Location
from kd_lab.store.queries import KILLED, SWEEP, by_local_id, last_time_ms, search, tag_is

if TYPE_CHECKING:
    from mlflow.entities import Run as MlflowRun

NAME_RUNS = (ARTIFACT_REPORT, ARTIFACT_JOBS, ARTIFACT_MLMODEL)
"""The texts that name runs by their ids."""


class Delivered(NamedTuple):
    """What became of a run: its id in the store, how it ended, and how much of it the store did not have.

    anew: the store had it once, and what only the store had is gone.
    """

    run_id: str
    status: str
    points: int
    artifacts: int
    anew: bool = False


def deliver(journal: Journal, uri: str, *, named: bool = False) -> Delivered:
    """Bring a run into the store; whoever calls has made sure that no process writes it.

    One at a time: runs that refer to one another find each other there.

    Args:
        journal: the run.
        uri: the store.
        named: by the user; a run that this store had before it was deleted is made there anew then.

    Raises:
        UserError: the store cannot be used, another store has the rest of this run, or an artifact is no file there.
        StoreAwayError: the store went away meanwhile (or what MLflow raises then).
    """
    location = Location.parse(uri)
    with alone(location.lock_file("delivery")):
        header = journal.header()
        if location.database is not None:
            if header.run_id is not None and not named and not location.database.exists():
                raise _gone(journal, header, uri)
            opened(location, lambda: client(uri).search_experiments(max_results=1))
        return _deliver(journal, header, uri, named=named)


def _deliver(journal: Journal, header: Header, uri: str, *, named: bool) -> Delivered:
    entries = journal.entries()
    for artifact in entries.artifacts:
        with suppress(FileNotFoundError):  # told when its turn comes
            journal.there(artifact)
    found = _known(header, uri)
    anew = found is None and header.run_id is not None
    if anew:
        if not (named and header.study and _is_gone(header, uri)):
            raise _gone(journal, header, uri)
        entries.artifacts = journal.kept()
    new_ids = _new_ids(header, uri)
    run_id = str(found.info.run_id) if found else _make(header, uri, new_ids)
    if run_id != header.run_id:
        new_ids[header.local_id] = run_id
    entries.params = {**header.params, **entries.params}
    entries.points = unwritten(uri, run_id, entries.points)
    count = len(entries.points), len(set(entries.artifacts))
    end, entries.end = entries.end, None
    _send_all(uri, run_id, entries, journal.files, new_ids)
    _point_to(uri, header.local_id, run_id)
    if end is not None:
        client(uri).set_terminated(run_id, end.status, end.time_ms)
    elif header.tags.get(TAG_ROLE) != SWEEP or found is None:
        close_killed(uri, run_id)
    return Delivered(run_id, client(uri).get_run(run_id).info.status, *count, anew)


def _is_gone(header: Header, uri: str) -> bool:
    """Whether the store that a run was begun in, and that does not have it, can have no more of it than this one."""
    begun_in = Location.parse(header.uri).database
    return header.uri == uri or (begun_in is not None and not begun_in.exists())


def _gone(journal: Journal, header: Header, uri: str) -> UserError:
    """What is said of a run that a store does not have any more, or never had."""
    begun = f"tracking.uri={uri}: run {header.run_id} is not there; it was begun in {header.uri}"
    if not _is_gone(header, uri):
        return UserError(f"{begun}, where it belongs.")
    if not header.study:
        return UserError(f"{begun}, which is gone, and too little is kept here without it; delete {journal.folder}")
    return UserError(
        f"{begun}, which was deleted or made anew since; `kd-lab sync tracking.uri={uri}` makes the run there, from "
        "what is kept here."
    )


@contextmanager
def one_refusal(journal: Journal, uri: str) -> Iterator[None]:
    """What a store does not take is one sentence; the run stays where it is.

    Raises:
        UserError: the store refused it.
        StoreAwayError: the store does not answer.
        TrainingFailedError: the disk is full.
    """
    from mlflow.exceptions import MlflowException

    try:
        with one_sentence(uri):
            yield
    except MlflowException as error:
        raise UserError(f"tracking.uri={uri}: run {journal.folder.name} was refused ({first_line(error)}).") from error


def close_killed(uri: str, run_id: str) -> None:
    """End a RUNNING run whose process is dead, as of its last metric."""
    run = client(uri).get_run(run_id)
    if run.info.status == "RUNNING":
        client(uri).set_tag(run_id, TAG_REASON, KILLED)
        client(uri).set_terminated(run_id, "KILLED", last_time_ms(uri, run))


def _known(header: Header, uri: str) -> "MlflowRun | None":
    """The run in the store, if it was begun there."""
    from mlflow.exceptions import MlflowException

    if header.run_id is not None:
        try:
            return client(uri).get_run(header.run_id)
        except MlflowException as error:
            if http_status(error) != 404:
                raise
    return by_local_id(uri, header.local_id)


def _make(header: Header, uri: str, new_ids: Mapping[str, str]) -> str:
    tags = {key: new_ids.get(value, value) if key in REFERENCES else value for key, value in header.tags.items()}
    location = Location.parse(uri)
    study = opened(location, lambda: study_id(location, header.study))
    made = client(uri).create_run(study, start_time=header.started_ms, tags=tags, run_name=header.name)
    return str(made.info.run_id)


def _new_ids(header: Header, uri: str) -> dict[str, str]:
    """What the store calls the runs that this one refers to, by what it calls them, where the store has them."""
    ids = {header.tags[tag] for tag in REFERENCES if tag in header.tags}
    found = {local_id: by_local_id(uri, local_id) for local_id in ids}
    return {local_id: str(run.info.run_id) for local_id, run in found.items() if run is not None}


def _point_to(uri: str, local_id: str, run_id: str) -> None:
    """Give the run's id to those that came into the store before it and refer to it by its local one."""
    for tag in REFERENCES:
        for other in search(uri, tag_is(tag, local_id)) if is_run_id(local_id) else []:
            client(uri).set_tag(other.info.run_id, tag, run_id)


def _renamed(text: str, uri: str, new_ids: Mapping[str, str]) -> str:
    """With the ids that the store has for the runs that the text names."""
    for old in set(re.findall(r"\b[0-9a-f]{32}\b", text)):
        run = None if old in new_ids else by_local_id(uri, old)
        text = text.replace(old, new_ids.get(old, old) if run is None else str(run.info.run_id))
    return text


def _send_all(uri: str, run_id: str, entries: Entries, files: Path, new_ids: Mapping[str, str]) -> None:
    entries.artifacts = list(dict.fromkeys(entries.artifacts))
    with scratch() as folder:
        while entries:
            part, source = entries.first(), files
            if part.artifacts and part.artifacts[0] in NAME_RUNS:
                source = Path(folder)
                text = _renamed(read_text(regular(files, part.artifacts[0])), uri, new_ids)
                copy = source / part.artifacts[0]
                copy.parent.mkdir(exist_ok=True)
                copy.write_text(text, encoding="utf-8")
            send(uri, run_id, part, source)
            entries.discard(part)
