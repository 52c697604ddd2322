"""Runs that were kept here, brought into their stores: by `kd-lab sync`, or by the next job that finds the store."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kd_lab.errors import UserError
from kd_lab.names import TAG_HOST, TAG_ROLE
from kd_lab.outside.paths import RESCUE
from kd_lab.store.client import StoreAwayError, away
from kd_lab.store.delivery import Delivered, deliver, one_refusal
from kd_lab.store.journal import Header, Journal, journals
from kd_lab.store.lease import Lease, host, same_host
from kd_lab.store.location import LOCAL, Location
from kd_lab.store.queries import SWEEP
from kd_lab.store.store import Store


@dataclass(frozen=True)
class Waiting:
    """A run that waits in a folder, and the store that it is to be brought to."""

    journal: Journal
    header: Header
    target: str

    @property
    def stays(self) -> bool:
        """Whether it is only copied: a file is where one looks at the runs that are meant for a server."""
        return Location.parse(self.header.uri).database is None and Location.parse(self.target).database is not None

    @property
    def label(self) -> str:
        """What it is called."""
        run_id = self.journal.folder.name[:8]
        return f"{self.header.name} ({run_id})" if self.header.name else f"run {run_id}"


def sync(uri: str | None) -> Iterator[str]:
    """Bring in all that waits here, and say so run by run.

    Args:
        uri: where to; by default where each run was meant to go.

    Raises:
        UserError: a store is still away, or a run cannot go there; the others were brought in.
    """
    named = [Location.parse(uri)] if uri else []
    roots = dict.fromkeys([Path.cwd() / RESCUE, *(location.rescue() for location in named)])
    waiting = [run for root in roots for run in _waiting(root, named[0].uri if named else None)]
    waiting.sort(key=_turn)
    if not waiting:
        yield "Nothing to bring in: no run is kept here that its store does not have."
    problems: dict[str, UserError] = {}
    for run in waiting:
        if (refusal := _not_meant(run, uri)) is not None:
            problems.setdefault(run.target, refusal)
    waiting = [run for run in waiting if run.target not in problems]
    unusable = {target: cause for target in {run.target for run in waiting} if (cause := away(target)) is not None}
    for target, cause in unusable.items():
        count = sum(run.target == target for run in waiting)
        problems[target] = UserError(
            f"tracking.uri={target}: the server is still away ({cause}); {_counted(count, 'run')} kept here for it, "
            "try again when it is back."
        )
    for run in waiting:
        if run.target in unusable:
            continue
        try:
            yield _bring(run, named=bool(named)) or f"{run.label}: still running, left alone"
        except (UserError, StoreAwayError) as error:
            problems.setdefault(run.target, UserError(str(error)))
    if problems:
        raise next(iter(problems.values()))


def bring_in(store: Store) -> list[str]:
    """Bring to a store that answers what waits for it: how many runs that were, and what it did not take."""
    brought, said = 0, []
    for run in _waiting(store.location.rescue(), None):
        if run.target != store.uri or not (_has_ended(run) or _is_dead(run, store)):
            continue
        try:
            brought += _bring(run) is not None
        except StoreAwayError:
            break
        except UserError as error:
            said.append(str(error))
    if brought:
        said.append(f"{_counted(brought, 'run')} that waited in {store.location.rescue()} brought to {store.uri}")
    return said


def waiting_here(uri: str) -> list[str]:
    """A sentence on the runs that wait here, for each store; `uri` is the one that a command uses."""
    said = []
    for root in dict.fromkeys([Location.parse(uri).rescue(), Path.cwd() / RESCUE]):
        counts = Counter(run.target for run in _waiting(root, None) if _has_ended(run))
        said += [_sentence(root, target, number) for target, number in counts.items()]
    return said


def _sentence(root: Path, target: str, number: int) -> str:
    them, wait = ("them", "wait") if number > 1 else ("it", "waits")
    said = f"{_counted(number, 'run')} {wait} in {root} for {target}: `kd-lab sync` brings {them} there"
    if Location.parse(target).database is not None:
        return f"{said}."
    return f"{said}; `kd-lab sync tracking.uri={LOCAL}` copies {them} to where `kd-lab compare` and `kd-lab ui` look."


def _has_ended(run: Waiting) -> bool:
    return run.journal.entries().end is not None


def _is_dead(run: Waiting, store: Store) -> bool:
    """Whether its process was one of this machine; its lease tells whether that lives. Others are `close_orphans`'s."""
    return run.header.run_id is None and same_host(run.header.tags.get(TAG_HOST, ""), host(store.location))


def _not_meant(run: Waiting, uri: str | None) -> UserError | None:
    """Why a run does not go where its folder says, which may have come with a clone or an archive.

    A server is one that this user has used before, or names now: others would be given the login of this user's
    environment. A SQLite file is the one beside the folder.
    """
    root, location = run.journal.folder.parent, Location.parse(run.target)
    if uri is not None or (location.rescue() == root if location.database else location.was_used()):
        return None
    return UserError(
        f"tracking.uri={run.target}: runs in {root} are meant for this store, which you have not used from here; "
        f"if you know it: kd-lab sync tracking.uri={run.target}"
    )


def _counted(count: int, thing: str) -> str:
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"


def _waiting(root: Path, target: str | None) -> list[Waiting]:
    """What waits in a folder; where to, by default, each run says itself."""
    found = [(journal, journal.header()) for journal in journals(root)]
    return sorted((Waiting(journal, header, target or header.uri) for journal, header in found), key=_turn)


def _turn(run: Waiting) -> tuple[bool, int]:
    """Sweeps come after their jobs, whose ids their lists name."""
    return run.header.tags.get(TAG_ROLE) == SWEEP, run.header.started_ms


def _bring(run: Waiting, *, named: bool = False) -> str | None:
    """Bring it in and say so; None where a process writes it. named: the store, by the user."""
    lease = Lease.take(Location.parse(run.header.uri), run.header.local_id or run.journal.folder.name)
    if lease is None:
        return None
    brought: Delivered | None = None
    try:
        with one_refusal(run.journal, run.target):
            brought = deliver(run.journal, run.target, named=named)
        if not run.stays:
            run.journal.remove()
    finally:
        lease.release(done=brought is not None and not run.stays)
    what = f"{_counted(brought.points, 'metric point')} and {_counted(brought.artifacts, 'artifact')}"
    where = f"run {brought.run_id} in {run.target}; {brought.status}"
    if run.stays:
        return f"{run.label}: {what} copied to {where}; it waits for {run.header.uri} all the same"
    anew = " (made anew, without what that store had of it)" if brought.anew else ""
    return f"{run.label}: {what} brought to {where}{anew}"
