"""A schedule that a population has learned, as settings of a job: each value piecewise constant."""

import copy
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from kd_lab.errors import UserError
from kd_lab.job.compose import Config
from kd_lab.schedules.piecewise import piecewise

RATE = "student.recipe.optimizer.lr"
LOSS = "loss."
DIGITS = 6
"""Of a factor: more than the values have that it is the quotient of."""


def check_keys(config: Mapping[str, Any], keys: Sequence[str]) -> None:
    """Raise a UserError for a key that cannot change in the middle of a training, or follows a schedule already."""
    for key in keys:
        if key != RATE and not key.startswith(LOSS):
            raise UserError(
                f"{key}: cannot change in the middle of a training; sweep=pbt searches numbers of the loss "
                f"(loss.temperature, loss.weight, loss.hard_weight) and {RATE}; sweep=optuna searches the rest"
            )
        node, setting = _owner(config, key)
        if key != RATE and (node.get("schedules") or {}).get(setting) is not None:
            raise UserError(f"{key}: follows a schedule already; expected one without, which sweep=pbt then learns")


def with_schedule(
    config: Config, milestones: Sequence[float], values: Sequence[Mapping[str, float]], *, followed: bool = False
) -> Config:
    """The config of a job whose values change at the milestones.

    Args:
        config: of the job with the first values.
        milestones: fractions of the training, in rising order.
        values: by key, one set more than there are milestones. The learning rate of each piece follows the schedule
            that it has in `config`.
        followed: whether a value that never changes has a schedule all the same, and with it a curve.
    """
    found = copy.deepcopy(config)
    for key, base in values[0].items():
        pieces = zip(milestones, pairwise(values), strict=True)
        changes = [(milestone, now[key]) for milestone, (before, now) in pieces if now[key] != before[key]]
        if not changes and not followed:
            continue
        node: dict[str, Any] = {
            "_target_": f"{piecewise.__module__}.{piecewise.__qualname__}",
            "_partial_": True,
            "milestones": [milestone for milestone, _ in changes],
            "factors": [float(f"{now / base:.{DIGITS}g}") for _, now in changes],
        }
        if key == RATE:
            recipe = found["student"]["recipe"]
            recipe["schedule"] = {**node, "under": recipe["schedule"]}
        else:
            owner, setting = _owner(found, key)
            owner["schedules"] = {**(owner.get("schedules") or {}), setting: node}
    return found


def _owner(config: Mapping[str, Any], key: str) -> tuple[dict[str, Any], str]:
    """The node that a number of a loss and its schedule belong to, `loss` or `loss.terms.NAME`, and its name there."""
    path, _, setting = key.rpartition(".")
    node: dict[str, Any] = dict(config)
    for name in path.split("."):
        node = node.get(name, {})
    return node, setting
