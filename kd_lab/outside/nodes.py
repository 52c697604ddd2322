"""Which classes a store may name. What a user types may name any; what comes from a store builds from here only.

A node of a config (`_target_` and arguments) is code to be run: whoever can write to a store could run anything on the
machine of who reads it. So a name is looked at before it is imported, and what it names before it is called. A class of
the user's own is allowed by `trust=my_module` on the command, or KD_LAB_TRUST=my_module,other in the environment.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kd_lab.errors import UserError

TRUST = "KD_LAB_TRUST"
_MODULE = "torch.nn.modules.module.Module"
_ESTIMATOR = "sklearn.base.BaseEstimator"


@dataclass(frozen=True)
class Whitelist:
    """What may be named for one kind of node.

    kind: what the message calls it. places: the packages and modules it may come from. bases: classes by their full
    names, one of which what is found must be derived from; none: it has to be defined in one of the places.
    """

    kind: str
    places: tuple[str, ...]
    bases: tuple[str, ...] = ()

    def check_name(self, key: str, name: object) -> None:
        """Look at a `_target_` before anything is imported for it.

        Raises:
            UserError: it is none of these, and not trusted; the message starts with the key.
        """
        if is_trusted(name):
            return
        parts = str(name).split(".")
        # A leading underscore: what a package keeps to itself, such as a module that runs when it is imported.
        if not _below(str(name), self.places) or any(part.startswith("_") or not part for part in parts):
            raise self._refusal(key, name)

    def check_found(self, key: str, name: object, found: Any) -> None:
        """Look at what the name leads to before it is called: `torch.os.system` begins as torch does.

        Raises:
            UserError: it is no class of the kind, and not trusted.
        """
        if is_trusted(name):
            return
        defined = str(getattr(found, "__module__", ""))
        if not self.bases:
            fits = callable(found) and _below(defined, self.places)
        else:
            fits = isinstance(found, type) and any(_full_name(one) in self.bases for one in found.__mro__)
            fits = fits and (_below(defined, self.places) or is_trusted(defined))
        if not fits:
            raise self._refusal(key, name)

    def _refusal(self, key: str, name: object) -> UserError:
        top = str(name).split(".", 1)[0]
        *others, last = self.places
        listed = f"{', '.join(others)} and {last}" if others else last
        told = " derived from torch.nn.Module" if self.bases else ""
        return UserError(
            f"{key}._target_={name}: a {self.kind} that comes from a store is built from classes{told} of {listed} "
            f"only; if the code of {top} here is yours and you know who wrote that run, add trust={top}"
        )


NETWORK = Whitelist(
    "network", ("kd_lab", "torch", "timm", "torchvision", "transformers", "sklearn"), (_MODULE, _ESTIMATOR)
)
PREPARE = Whitelist(
    "preparation",
    ("kd_lab.datasets.common.scaled", "kd_lab.datasets.common.columns", "kd_lab.datasets.common.counts"),
)
READER = Whitelist("reader of files", ("kd_lab.datasets.common.readers",))
DATASET = Whitelist("dataset", ("kd_lab.datasets", "kd_lab.augment"))


def trust(names: str) -> None:
    """Trust these, separated by commas, in this process and those that it starts.

    Raises:
        UserError: a name is neither that of a module nor a folder in full.
    """
    for name in names.split(","):
        if not (Path(name).is_absolute() or all(part.isidentifier() for part in name.split("."))):
            raise UserError(
                f"trust={name}: expected the name of a module of yours, such as trust=my_module, or the full path of a "
                "folder"
            )
    os.environ[TRUST] = ",".join(dict.fromkeys([*_trusted(), *names.split(",")]))


def is_trusted(name: object) -> bool:
    """Whether the user has said to trust this module, or the one that this stands in."""
    return _below(str(name), tuple(one for one in _trusted() if not one.startswith(os.sep)))


def is_trusted_folder(folder: Path) -> bool:
    """Whether the user has said to trust this folder, or one above it."""
    return any(folder.resolve().is_relative_to(Path(one).resolve()) for one in _trusted() if one.startswith(os.sep))


def from_store_dataset(node: dict[str, Any]) -> dict[str, Any]:
    """The node of a dataset without what would write to this machine."""
    return {**node, "download": False} if "download" in node else node


def _trusted() -> list[str]:
    return [name for name in os.environ.get(TRUST, "").split(",") if name]


def _below(name: str, places: tuple[str, ...]) -> bool:
    return any(name == place or name.startswith(f"{place}.") for place in places)


def _full_name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def node_of(one: object, /, **given: Any) -> dict[str, Any]:
    """The node that builds an object of the same class again.

    Args:
        one: the object.
        given: the arguments.
    """
    return {"_target_": f"{type(one).__module__}.{type(one).__qualname__}", **given}
