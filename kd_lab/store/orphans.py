"""Runs whose process was killed: found when the next job starts, and closed as KILLED."""

from typing import TYPE_CHECKING

from kd_lab.names import TAG_HOST, TAG_LOCAL_ID, TAG_PARENT, TAG_ROLE, TAG_SWEEP
from kd_lab.outside.paths import is_own_rescue
from kd_lab.store.client import StoreAwayError, asked, one_sentence
from kd_lab.store.delivery import close_killed, deliver
from kd_lab.store.journal import Journal
from kd_lab.store.lease import Lease, host, same_host
from kd_lab.store.queries import SWEEP, search
from kd_lab.store.store import Store

if TYPE_CHECKING:
    from mlflow.entities import Run as MlflowRun


def close_orphans(store: Store, own_sweep: str | None = None) -> list[str]:
    """Close as KILLED what no process of this machine writes any more, in all studies; one sentence for each run.

    A run of another machine is never touched, nor a sweep with a run that may be alive. Nothing happens where the store
    is away.

    Args:
        store: where to look.
        own_sweep: the sweep that asks; its process may be on another machine.
    """
    try:
        running = asked(store.uri, lambda: search(store.uri, "attributes.status = 'RUNNING'"))
        here = host(store.location)
        ours = [run for run in running if same_host(run.data.tags.get(TAG_HOST, ""), here)]
        closed = [run for run in ours if not _is_sweep(run) and _close(store, run)]
        ended = {run.info.run_id for run in closed}
        alive = {run.data.tags.get(TAG_PARENT) for run in running if run.info.run_id not in ended}
        sweeps = [run for run in ours if _is_sweep(run) and run.data.tags.get(TAG_SWEEP, "") != own_sweep]
        closed += [run for run in sweeps if run.info.run_id not in alive and _close(store, run)]
    except StoreAwayError:
        return []
    return [f"run {run.info.run_id[:8]} ({run.info.run_name}) was killed earlier; closed as KILLED" for run in closed]


def _is_sweep(run: "MlflowRun") -> bool:
    return run.data.tags.get(TAG_ROLE) == SWEEP


def _close(store: Store, run: "MlflowRun") -> bool:
    """Close it if its process is dead; what that process kept comes in first."""
    lease = Lease.take(store.location, run.data.tags.get(TAG_LOCAL_ID, ""))
    if lease is None:
        return False
    done = False
    try:
        journal = Journal(lease.folder or store.location.rescue() / run.info.run_id)
        if not _keeps(journal, store, run):
            asked(store.uri, lambda: close_killed(store.uri, run.info.run_id))
        elif journal.entries().end is not None:  # it ended by itself while the store was away
            return False
        else:
            with one_sentence(store.uri):
                deliver(journal, store.uri)
            journal.remove()
        done = True
    finally:
        lease.release(done=done)
    return done


def _keeps(journal: Journal, store: Store, run: "MlflowRun") -> bool:
    """Whether this folder keeps what the store lacks of this run, and nobody put it there but this user."""
    if not is_own_rescue(journal.folder):
        return False
    try:
        header = journal.header()
    except (OSError, ValueError):
        return False
    same = header.run_id == run.info.run_id or header.local_id == run.data.tags.get(TAG_LOCAL_ID)
    return same and header.uri == store.uri
