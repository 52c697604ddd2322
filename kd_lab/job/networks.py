"""Networks that a setting names: `cnn`, `mlp_64_48`, or a name with settings, `{cnn: {channels: [8, 16]}}`."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from kd_lab.errors import UserError, choices
from kd_lab.job.catalogue import conf_dir

Node = dict[str, Any]
WIDTHS = "widths"
"""What the numbers behind a name are: `mlp_64_48` is an mlp with widths=[64,48]."""


def network_of(key: str, said: object, content: Callable[[str], Node | None]) -> Node:
    """What builds a network that is named.

    Args:
        key: where it is said.
        said: a name; a mapping of a name to settings; or a mapping with a `_target_`, which is left as it is.
        content: of a network of conf/model, by name, or None.

    Raises:
        UserError: there is no such network, or it is said otherwise.
    """
    if isinstance(said, Mapping) and "_target_" in said:
        return dict(said)
    name, settings = next(iter(said.items())) if isinstance(said, Mapping) and len(said) == 1 else (said, {})
    if not isinstance(name, str) or not isinstance(settings, Mapping):
        raise UserError(f"{key}={said}: expected networks by name, such as [mlp_64] or [{{mlp: {{widths: [64]}}}}]")
    if (found := content(name)) is not None:
        return {**found, **settings}
    shape = re.fullmatch(r"(\w+?)((?:_[1-9]\d*)+)", name)
    if shape is not None and WIDTHS in (found := content(shape[1]) or {}):
        return {**found, WIDTHS: [int(number) for number in shape[2].split("_")[1:]], **settings}
    known = sorted(file.stem for file in conf_dir().glob("model/*.yaml") if file.stem != "none")
    raise UserError(f"{key}={name}: conf/model has no such network; {choices(name, known)}")
