"""Whether there is memory for what is to be read."""

from kd_lab.errors import UserError
from kd_lab.outside.text import in_bytes


def check_memory(declared: int, source: str) -> None:
    """Refuse what does not fit into the memory: a process that takes more is killed without a word.

    Args:
        declared: bytes.
        source: the beginning of the message.

    Raises:
        UserError: less is available.
    """
    import psutil

    free = int(psutil.virtual_memory().available)
    if declared > free:
        raise UserError(
            f"{source}: declares {in_bytes(declared)}, expected at most the {in_bytes(free)} of memory that are "
            "available; choose a smaller file, or more memory."
        )
