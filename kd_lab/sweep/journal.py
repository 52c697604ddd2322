"""What a population has done, on the local disk: a line for each turn that ended, so that it goes on where it ended."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kd_lab.errors import UserError
from kd_lab.outside.paths import read_text
from kd_lab.sweep.states import FINISHED, PRUNED

KEPT = ("state", "values", "run_id", "result", "score", "on_validation", "reason", "started", "ended")
"""Of a turn's state; with whose network and which values it was done follows from the scores."""
MAX_BYTES = 2**28


class Journal:
    """The lines of one population, `name`, in the file of all of them."""

    def __init__(self, path: Path, name: str) -> None:
        self._path, self._name = path, name

    def read(self) -> dict[tuple[int, int], dict[str, Any]]:
        """What ended before, by round and member; a line that is not whole is left out.

        Raises:
            UserError: the file cannot be read.
        """
        if not self._path.exists():
            return {}
        try:
            lines = read_text(self._path, MAX_BYTES).splitlines()
        except (OSError, ValueError) as error:
            raise UserError(
                f"{self._path}: cannot be read as the journal of populations; move it away to begin them anew"
            ) from error
        found = {}
        for line in lines:
            try:
                said = json.loads(line)
            except ValueError:  # cut short
                continue
            if isinstance(said, dict) and said.get("population") == self._name and _is_whole(said):
                found[said["round"], said["member"]] = {key: said[key] for key in KEPT}
        return found

    def add(self, number: int, member: int, facts: Mapping[str, Any]) -> None:
        """One turn more."""
        said = {"population": self._name, "round": number, "member": member, **{key: facts[key] for key in KEPT}}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(f"{json.dumps(said)}\n")


def _is_whole(said: Mapping[str, Any]) -> bool:
    if not all(key in said for key in ("round", "member", *KEPT)):
        return False
    values = said["values"]
    if said["state"] == PRUNED:
        return values is None
    numbers = isinstance(values, list) and len(values) == 1 and isinstance(values[0], float)
    return said["state"] == FINISHED and numbers and math.isfinite(values[0])
