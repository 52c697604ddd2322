"""Run ids: they become names of folders, so nothing else is one, whoever says it."""

import re

from kd_lab.errors import UserError

RUN = "run:"
"""How a source of weights begins that is a run."""
_RUN_ID = re.compile(r"[0-9a-f]{32}")


def is_run_id(said: object) -> bool:
    """Whether this is a run id, the store's own or a local one: 32 digits 0-9 and a-f."""
    return isinstance(said, str) and _RUN_ID.fullmatch(said) is not None


def run_id(said: object, source: str) -> str:
    """The id, if it is one.

    Args:
        said: what came.
        source: what said it, the beginning of the message.

    Raises:
        UserError: it is none.
    """
    if not is_run_id(said):
        raise UserError(
            f"{source}: {str(said)[:80]!r} came as the id of a run, expected 32 digits 0-9 and a-f; this is no MLflow "
            "store to be trusted, choose another."
        )
    return str(said)
