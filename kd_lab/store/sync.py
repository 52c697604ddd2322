"""`kd-lab sync`: everything that was kept locally is brought into its store, one line of text per run."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from kd_lab.errors import UserError
from kd_lab.names import TAG_ROLE
from kd_lab.outside.database import has_runs
from kd_lab.outside.paths import RESCUE
from kd_lab.store.client import StoreAwayError, first_line, one_sentence
from kd_lab.store.deliver import Delivered, Parcel, deliver
from kd_lab.store.journal import Kept, kept_runs
from kd_lab.store.lease import Lease
from kd_lab.store.local import local_parcel, mark_synced, waiting
from kd_lab.store.location import Location
from kd_lab.store.opening import away
from kd_lab.store.queries import SWEEP


@dataclass(frozen=True)
class Item:
    """A run that waits.

    home: the store that it was written for, or lies in; its locks tell whether the run is still written. folder: where
    it waits. parcel: packs it, given a scratch folder. done: called with the id that it has now. is_sweep: it comes
    after its jobs, which it names.
    """

    started_ms: int
    run_id: str
    local_id: str
    name: str
    target: str
    home: Location
    folder: Path
    parcel: Callable[[Path], Parcel]
    done: Callable[[str], None]
    is_sweep: bool


def sync(uri: str | None, local_uri: str) -> Iterator[str]:
    """Bring in all that waits here, and say so run by run.

    Args:
        uri: where to; by default where each run was meant to go.
        local_uri: the SQLite store that stands in for a server that is away.

    Raises:
        UserError: a store is still away, or a run cannot go there; the others were brought in.
    """
    items = _items(uri, local_uri)
    if not items:
        yield "Nothing to bring in: no run is kept here that its store does not have."
    problems: dict[str, UserError] = {}
    for item in items:
        if (refusal := _not_meant(item, uri)) is not None:
            problems.setdefault(item.target, refusal)
    items = [item for item in items if item.target not in problems]
    unusable = {target: cause for target in {item.target for item in items} if (cause := away(target)) is not None}
    for target, cause in unusable.items():
        count = sum(item.target == target for item in items)
        problems[target] = UserError(
            f"tracking.uri={target}: the server is still away ({cause}); {_counted(count, 'run')} kept here for it, "
            "try again when it is back."
        )
    for item in items:
        if item.target in unusable:
            continue
        try:
            yield _bring(item)
        except (UserError, StoreAwayError) as error:
            problems.setdefault(item.target, UserError(str(error)))
    if problems:
        raise next(iter(problems.values()))


def _not_meant(item: Item, uri: str | None) -> UserError | None:
    """Why a run does not go where its folder or file says, which may have come with a clone or an archive.

    A server is one that this user has used before, or names now: others would be given the login of this user's
    environment. A SQLite file is the one beside the folder.
    """
    try:
        location = Location.parse(item.target)
    except UserError as error:
        return error
    if uri is not None or (location.rescue() == item.folder if location.database else location.was_used()):
        return None
    return UserError(
        f"tracking.uri={item.target}: runs in {item.folder} are meant for this store, which you have not used from "
        f"here; if you know it: kd-lab sync tracking.uri={item.target}"
    )


def _counted(count: int, thing: str) -> str:
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"


def _items(uri: str | None, local_uri: str) -> list[Item]:
    uri = Location.parse(uri).uri if uri else None
    roots = {Path.cwd() / RESCUE} | ({Location.parse(uri).rescue()} if uri else set())
    items = [_kept_item(kept, uri) for root in roots for kept in kept_runs(root)]
    local = Location.parse(local_uri)
    if local.database is not None and has_runs(local.database):
        for run in waiting(local.uri, uri):
            items.append(
                Item(
                    *(run.started_ms, run.run_id, run.local_id, run.name, run.target, local, local.rescue()),
                    parcel=partial(local_parcel, local.uri, run.run_id),
                    done=partial(mark_synced, local.uri, run.run_id),
                    is_sweep=run.is_sweep,
                )
            )
    return sorted(items, key=lambda item: (item.is_sweep, item.started_ms))


def _kept_item(kept: Kept, uri: str | None) -> Item:
    header, run_id = kept.header(), kept.folder.name
    return Item(
        header.started_ms,
        run_id,
        header.local_id or run_id,
        header.name,
        uri or header.uri,
        Location.parse(header.uri),
        kept.folder.parent,
        parcel=lambda _: Parcel.of_kept(kept),
        done=lambda _: kept.remove(),
        is_sweep=header.tags.get(TAG_ROLE) == SWEEP,
    )


def _bring(item: Item) -> str:
    lease = Lease.take(item.home, item.local_id)
    label = f"{item.name} ({item.run_id[:8]})" if item.name else f"run {item.run_id[:8]}"
    if lease is None:
        return f"{label}: still running, left alone"
    brought: Delivered | None = None
    try:
        with tempfile.TemporaryDirectory() as scratch, _refused(item), one_sentence(item.target):
            brought = deliver(item.parcel(Path(scratch)), item.target)
        item.done(brought.run_id)
    finally:
        lease.release(done=brought is not None)
    what = f"{_counted(brought.points, 'metric point')} and {_counted(brought.artifacts, 'artifact')}"
    return f"{label}: {what} brought to run {brought.run_id} in {item.target}; {brought.status}"


@contextmanager
def _refused(item: Item) -> Iterator[None]:
    """What the store does not take is one sentence too; the run stays where it is."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        raise UserError(f"tracking.uri={item.target}: run {item.run_id} was refused ({first_line(error)}).") from error
