"""Runs that no process writes any more, and are RUNNING in the store: found when the next command looks there.

One whose process was killed is closed as KILLED; one that had ended, and could not tell the store, ends as it did.
"""

from typing import TYPE_CHECKING

from kd_lab.errors import UserError
from kd_lab.names import TAG_HOST, TAG_LOCAL_ID, TAG_PARENT, TAG_ROLE, TAG_SWEEP
from kd_lab.outside.paths import is_own_rescue
from kd_lab.store.client import StoreAwayError, asked
from kd_lab.store.delivery import close_killed, deliver, one_refusal
from kd_lab.store.journal import Journal
from kd_lab.store.lease import Lease, host, same_host
from kd_lab.store.queries import SWEEP, search
from kd_lab.store.store import Store
from kd_lab.store.sync import bring_in

if TYPE_CHECKING:
    from mlflow.entities import Run as MlflowRun


def settle(store: Store, own_sweep: str | None = None) -> list[str]:
    """Bring in what waits here for the store, and end what no process writes any more; what that was, in sentences.

    Whoever looks for what was done before does this first. Nothing happens where the store is away.

    Args:
        store: where to look, in all studies.
        own_sweep: the sweep that asks; its process may be on another machine.
    """
    return [*bring_in(store), *close_orphans(store, own_sweep)]


def close_orphans(store: Store, own_sweep: str | None = None) -> list[str]:
    """End what is RUNNING and no process of this machine writes any more, in all studies; one sentence for each run.

    A run of another machine is never touched, nor a sweep with a run that may be alive.

    Args:
        store: where to look.
        own_sweep: the sweep that asks; its process may be on another machine.
    """
    said, ended = list[str](), set[str]()

    def end(runs: "list[MlflowRun]") -> None:
        for run in runs:
            try:
                sentence = _end(store, run)
            except UserError as error:
                sentence = str(error)
            else:
                ended.update({run.info.run_id} if sentence else ())
            said.extend([sentence] if sentence else ())

    try:
        running = asked(store.uri, lambda: search(store.uri, "attributes.status = 'RUNNING'"))
        here = host(store.location)
        ours = [run for run in running if same_host(run.data.tags.get(TAG_HOST, ""), here)]
        end([run for run in ours if not _is_sweep(run)])
        alive = {run.data.tags.get(TAG_PARENT) for run in running if run.info.run_id not in ended}
        sweeps = [run for run in ours if _is_sweep(run) and run.data.tags.get(TAG_SWEEP, "") != own_sweep]
        end([run for run in sweeps if run.info.run_id not in alive])
        Lease.forget_dead(store.location, {run.data.tags.get(TAG_LOCAL_ID, "") for run in running})
    except StoreAwayError:
        pass
    return said


def _is_sweep(run: "MlflowRun") -> bool:
    return run.data.tags.get(TAG_ROLE) == SWEEP


def _end(store: Store, run: "MlflowRun") -> str | None:
    """End it if its process is dead, and say so; what that process kept comes in first, its end too if it noted one.

    Raises:
        UserError: the store does not take what was kept.
    """
    lease = Lease.take(store.location, run.data.tags.get(TAG_LOCAL_ID, ""))
    if lease is None:
        return None
    named, done = f"run {run.info.run_id[:8]} ({run.info.run_name})", False
    try:
        journal = Journal(lease.folder or store.location.rescue() / run.info.run_id)
        noted = None
        if not _keeps(journal, store, run):
            asked(store.uri, lambda: close_killed(store.uri, run.info.run_id))
        else:
            noted = journal.entries().end
            with one_refusal(journal, store.uri):
                deliver(journal, store.uri)
            journal.remove()
        done = True
    finally:
        lease.release(done=done)
    if noted is not None:
        return f"{named} had ended as {noted.status}, which its store was not told; it is now"
    return f"{named} was killed earlier; closed as KILLED"


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
