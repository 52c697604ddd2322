"""Where a store is: its address in full, and the files that belong to it."""

import hashlib
import http.client
import os
import re
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from kd_lab.errors import UserError
from kd_lab.outside.address import is_server, request, without_login
from kd_lab.outside.paths import RESCUE

SQLITE = "sqlite:///"
LOCAL = f"{SQLITE}mlflow.db"
"""The store of who is told nothing, as conf/tracking/local.yaml has it: a file in the folder that one stands in."""
SERVER_TIMEOUT_S = 3.0


@dataclass(frozen=True)
class Location:
    """One store.

    uri: what is said and kept: without a login, a SQLite path made absolute, so that a later change of folder changes
    nothing.
    database: the SQLite file, None for a server. locks: the folder of this store's lock files.
    """

    uri: str
    database: Path | None
    locks: Path

    @classmethod
    def parse(cls, uri: str) -> "Location":
        """Read `tracking.uri`; looks at nothing on disk or in the network.

        Raises:
            UserError: it is neither `sqlite:///FILE` nor an http address.
        """
        uri = without_login(uri)
        if is_server(uri):
            digest = hashlib.sha256(uri.encode()).hexdigest()[:16]
            return cls(uri, None, Path.home() / ".cache" / "kd-lab" / "locks" / digest)
        file, question, options = uri.removeprefix(SQLITE).partition("?")
        if not uri.startswith(SQLITE) or not file:
            raise UserError(
                f"tracking.uri={uri}: expected sqlite:///FILE or the http(s) address of an MLflow server; "
                f"write for example tracking.uri={LOCAL}."
            )
        database = Path(file).absolute()
        return cls(f"{SQLITE}{database}{question}{options}", database, Path(f"{database}.locks"))

    def check(self) -> None:
        """Make the folder of a SQLite file, or ask a server whether it is there.

        Raises:
            UserError: a folder cannot be written, the file is a folder, or the server does not answer.
        """
        if (cause := self.silence()) is not None:
            raise UserError(
                f"tracking.uri={self.uri}: no MLflow server answers there ({cause}); start one with `mlflow server`, "
                "use tracking=local, or tracking.offline=fallback to keep the runs here until it is back."
            )
        self.check_folders()

    def check_folders(self) -> None:
        """Make the folder of a SQLite file, look at those that a job of a server writes in.

        Raises:
            UserError: one of them cannot be written, or the file is a folder.
        """
        self._check_rescue()
        if self.locks.exists() and not self.locks.is_dir():
            raise UserError(f"{self.locks}: expected a folder, where the locks of {self.uri} are; take that file away.")
        if self.database is None:
            if not os.access(Path.cwd(), os.W_OK):
                raise UserError(
                    f"tracking.uri={self.uri}: cannot write in {Path.cwd()}, where a job keeps what a server does "
                    "not take; start in another folder."
                )
            return
        if self.database.is_dir():
            raise UserError(f"tracking.uri={self.uri}: this is a folder, name a file in it, such as mlflow.db.")
        try:
            self.database.parent.mkdir(parents=True, exist_ok=True)
            self.creation_lock().touch()
        except OSError as error:
            raise UserError(
                f"tracking.uri={self.uri}: cannot write in {self.database.parent} ({error.strerror}); "
                "choose another folder."
            ) from error

    def _check_rescue(self) -> None:
        folder = self.rescue()
        if folder.is_symlink() or (folder.exists() and not (folder.is_dir() and os.access(folder, os.W_OK))):
            raise UserError(
                f"{folder}: expected a folder that you can write in, where a job keeps what its store does not have; "
                "take it away, or have its owner share it (chmod g+w)."
            )

    def silence(self) -> str | None:
        """Why a server does not answer; None where it does, and for a file."""
        if self.database is not None:
            return None
        try:
            # An answer of any kind will do: what kind of server it is shows in the first real request.
            with urllib.request.urlopen(request(f"{self.uri.rstrip('/')}/health"), timeout=SERVER_TIMEOUT_S):
                return None
        except urllib.error.HTTPError:
            return None
        except http.client.HTTPException:  # what it says is no HTTP
            return "what answers there speaks no HTTP"
        except (OSError, ValueError) as error:  # OSError: URLError and time-outs; ValueError: not a valid address
            return str(getattr(error, "reason", error))

    def was_used(self) -> bool:
        """Whether this user has used this store before, away or not; for a file, whether it is there."""
        return self.database.is_file() if self.database else self.locks.is_dir()

    def may_be_written(self) -> bool:
        """Whether this user may: of a server that is not known, of a file its folder tells."""
        return self.database is None or os.access(self.database.parent, os.W_OK)

    def creation_lock(self) -> Path:
        """The lock file that is held while the store is made; a server has one per machine and user."""
        return Path(f"{self.database}.lock") if self.database else self.locks / "creation.lock"

    def lock_file(self, name: str) -> Path:
        """The lock file for one name; any string is a name."""
        digest = hashlib.sha256(name.encode()).hexdigest()[:16]
        return self.locks / f"{safe_name(name)[:40]}-{digest}.lock"

    @property
    def answers(self) -> Path:
        """The folder of what teachers answered: beside the database, for servers one of this user's on this machine."""
        return self._local("answers")

    @property
    def checkpoints(self) -> Path:
        """The folder of the states of trainings, a folder in it for each network: where that of `answers` is."""
        return self._local("checkpoints")

    @property
    def searches(self) -> Path:
        """The journal of all searches, Optuna's own: beside the database, for a server in the working directory."""
        return Path(f"{self.database}.optuna") if self.database else Path("kd_lab.optuna").absolute()

    @property
    def populations(self) -> Path:
        """The journal of all populations, a line for each part of a member's training: where that of `searches` is."""
        return Path(f"{self.database}.populations") if self.database else Path("kd_lab.populations").absolute()

    def _local(self, name: str) -> Path:
        return Path(f"{self.database}.{name}") if self.database else Path.home() / ".cache" / "kd-lab" / name

    def rescue(self) -> Path:
        """The folder for what the store does not have yet: beside the database, or for a server where we are now."""
        return (self.database.parent if self.database else Path.cwd()) / RESCUE

    def artifacts(self, study: str) -> str | None:
        """The folder for a study's artifacts, beside the database; a server chooses its own (None)."""
        if self.database is None:
            return None
        return (self.database.parent / "mlartifacts" / safe_name(study)).as_uri()


def safe_name(name: str) -> str:
    """A name made fit for a file name; two names may become the same one."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", name) or "_"
