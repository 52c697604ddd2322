"""Whether and how a dataset is downloaded: into its own default folder unasked, anywhere else on request alone.

Other folders may be mistyped, or named by a config that somebody else wrote; nothing is made there.
"""

import contextlib
import io
import socket
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from kd_lab.errors import UserError

_TIMEOUT_S = 20.0


def may_download(path: str, default: str, *, asked: bool) -> bool:
    """Whether what is not in the folder may be put there; asked: `dataset.download`."""
    return asked or Path(path).expanduser() == Path(default).expanduser()


def nothing_there(path: str, what: str) -> UserError:
    """What a user is told whose folder is not there, or lacks what the dataset consists of, and may not be filled."""
    if not Path(path).expanduser().is_dir():
        return UserError(
            f"dataset.path={path}: there is no such folder; name one with {what}, or set dataset.download=true to make "
            "and fill it."
        )
    return UserError(
        f"dataset.path={path}: expected {what}, but not all of that is there; put it there, or set "
        "dataset.download=true to download it."
    )


def nothing_came(path: str, what: str, reason: str) -> UserError:
    """What a user is told whose folder could not be filled."""
    return UserError(
        f"dataset.path={path}: expected {what}, but not all of that is there, and the download failed ({reason}); put "
        "it there, or go online once."
    )


def fetch(download: Callable[[], object]) -> str:
    """Lets torchvision download.

    Returns:
        Why nothing came, if nothing did.
    """
    try:
        with _quiet():
            download()
    except (OSError, RuntimeError, ValueError, EOFError, zlib.error) as error:
        return " ".join(str(error).split())
    return "nothing came"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No printing by torchvision, and no waiting for ever on a network that swallows everything."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_TIMEOUT_S)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        socket.setdefaulttimeout(before)
