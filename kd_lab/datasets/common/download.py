"""Whether a dataset may be downloaded: into its own default folder unasked, anywhere else on request alone.

Other folders may be mistyped, or named by a config that somebody else wrote; nothing is made there.
"""

from pathlib import Path

from kd_lab.errors import UserError


def may_download(path: str, default: str, *, asked: bool) -> bool:
    """Whether what is not in the folder may be put there; asked: `dataset.download`."""
    return asked or Path(path).expanduser() == Path(default).expanduser()


def nothing_there(path: str, what: str) -> UserError:
    """What a user is told whose folder is not there, or lacks what the dataset consists of, and may not be filled."""
    if not Path(path).expanduser().is_dir():
        return UserError(
            f"dataset.path={path}: there is no such folder; name one with {what}, or set dataset.download=true to make "
            "it and download them there."
        )
    return UserError(
        f"dataset.path={path}: expected {what}, but not all of them are there; put them there, or set "
        "dataset.download=true to download them there."
    )
