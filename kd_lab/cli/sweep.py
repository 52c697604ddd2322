"""A sweep as its jobs and its user see it: one parent run, failures that do not stop the others, a table at the end."""

import json
import os
import shlex
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from kd_lab.errors import UserError

ID = "KD_LAB_SWEEP"
TITLE = "KD_LAB_SWEEP_TITLE"
FOLDER = "KD_LAB_SWEEP_DIR"
KEYS = "KD_LAB_SWEEP_KEYS"
STORE_FILE = "store.json"


class Sweep:
    """Around Hydra's multirun, in the process that the user started.

    Jobs may run in other processes: what they have to say comes back through files in a scratch folder, whose path
    and the sweep's id they inherit as environment variables.
    """

    def __init__(self, arguments: list[str]) -> None:
        self.keys = " ".join(_swept(arguments))
        self.title = "sweep " + shlex.join(a for a in arguments if a not in {"-m", "--multirun"})
        self.sweep_id = uuid.uuid4().hex
        self.exit_code = 0

    def __enter__(self) -> "Sweep":
        self._scratch = tempfile.TemporaryDirectory(prefix="kd-lab-sweep-")
        os.environ |= {ID: self.sweep_id, TITLE: self.title, FOLDER: self._scratch.name, KEYS: self.keys}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        folder = Path(self._scratch.name)
        try:
            codes = [int(p.read_text()) for p in folder.glob("*.failed")]
            self.exit_code = max(codes, default=0)
            if (folder / STORE_FILE).exists():
                status = (
                    "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED" if codes or error else "FINISHED"
                )
                self._close(json.loads((folder / STORE_FILE).read_text()), status)
        finally:
            self._scratch.cleanup()
            for name in (ID, TITLE, FOLDER, KEYS):
                os.environ.pop(name, None)

    def _close(self, store: Mapping[str, str], status: str) -> None:
        from kd_lab.run.summary import close_sweep

        close_sweep(store["uri"], store["study"], self.sweep_id, status)


def _swept(arguments: list[str]) -> list[str]:
    """The keys that differ from job to job."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import OverrideParseException

    try:
        overrides = OverridesParser.create().parse_overrides([a for a in arguments if not a.startswith("-")])
    except OverrideParseException:  # Hydra says so itself, in a moment
        return []
    return [o.key_or_group for o in overrides if o.is_sweep_override()]


@dataclass(frozen=True)
class SweepMember:
    """One job's view of the sweep it belongs to."""

    sweep_id: str
    title: str
    folder: Path
    label: str

    @classmethod
    def of_environment(cls, overrides: Sequence[str]) -> "SweepMember | None":
        """The sweep this process belongs to, if it does; the label is what is special about the job (`seed=3`)."""
        if ID not in os.environ:
            return None
        keys = os.environ[KEYS].split()
        label = " ".join(o.lstrip("+") for o in overrides if o.split("=", 1)[0].lstrip("+") in keys)
        return cls(os.environ[ID], os.environ[TITLE], Path(os.environ[FOLDER]), label)

    def will_write(self, config: Mapping[Any, Any]) -> None:
        """Say where the runs go, for the end of the sweep."""
        target = {"uri": config["tracking"]["uri"], "study": str(config["study"])}
        (self.folder / STORE_FILE).write_text(json.dumps(target))

    def failed(self, error: Exception) -> None:
        """Remember that this job failed, and with what exit code."""
        (self.folder / f"{uuid.uuid4().hex}.failed").write_text("2" if isinstance(error, UserError) else "1")
