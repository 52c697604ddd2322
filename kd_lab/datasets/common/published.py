"""A dataset as its authors published it: files in a folder, and an official test set."""

from typing import ClassVar, Protocol

from kd_lab.datasets.common.download import may_download
from kd_lab.datasets.common.splits import SplitSettings
from kd_lab.types import Augment


class Kind(Protocol):
    """Which one."""

    @property
    def default(self) -> str:
        """The folder that is filled unasked."""


class Published:
    """What all of these are told, and how they say it where files are damaged."""

    kind: ClassVar[Kind]

    def __init__(
        self,
        *,
        path: str,
        download: bool = False,
        labels: int | None = None,
        validation: int = 5000,
        seed: int = 0,
        augment: Augment | None = None,
    ) -> None:
        """Checks the settings, reads nothing.

        Args:
            path: a folder with the files as they are distributed.
            download: fetch into `path` what is not there; the default folder is filled without asking.
            labels: how many labels are kept, stratified; None keeps all.
            validation: how many points are cut from the official training set before labels are hidden.
            seed: fixes the parts.
            augment: the batch transform that training may apply.

        Raises:
            ValueError: a value that no dataset can meet.
        """
        self._settings = SplitSettings(labels, validation, seed, augment)
        self._path, self._source = path, f"dataset.path={path}"
        self._may_download = may_download(path, self.kind.default, asked=download)

    @property
    def _todo(self) -> str:
        """With a damaged file."""
        return "delete it to download it anew" if self._may_download else "put the right one there"
