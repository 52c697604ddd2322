"""`loss`: its terms with what the objective does with each, and the hard weight."""

import math
from typing import Any

from pydantic import Field

from kd_lab.errors import UserError, choices
from kd_lab.job.strict import Node, Strict, parsed

OF_TERM = ("weight", "hard_weight", "standardize", "schedules", "student_layers", "teacher_layers")
"""The keys of a term that are not arguments of the loss."""


class TermSettings(Strict):
    """`loss.terms.NAME`: the loss itself, and what the objective does with it.

    node: what builds the loss. standardize: z-score the logits of both networks first. schedules: what moves the weight
    or another number of the loss. student_layers, teacher_layers: what it compares, if not what all losses do.
    """

    node: Node
    weight: float
    standardize: bool = False
    schedules: dict[str, Node] = Field(default_factory=dict)
    student_layers: list[str] | None = None
    teacher_layers: list[str] | None = None


class LossSettings(Strict):
    """`loss`."""

    terms: dict[str, TermSettings]
    hard_weight: float
    hard_schedule: Node | None = None

    def in_effect(self) -> Node:
        """What is recorded: each number once, where it acts, whichever short form it was given in."""
        terms = {
            name: {**term.node, **term.model_dump(exclude={"node"}, exclude_defaults=True)}
            for name, term in self.terms.items()
        }
        hard = {"hard_weight": self.hard_weight, "hard_schedule": self.hard_schedule}
        return {"terms": terms} | {key: value for key, value in hard.items() if value is not None}


def _weight(key: str, value: object) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or value < 0:  # type: ignore[arg-type, operator]
        raise UserError(f"{key}={value}: expected a finite number of 0 or more")
    return float(value)  # type: ignore[arg-type]


def _mapping(key: str, node: object) -> Node:
    if not isinstance(node, dict):
        raise UserError(f"{key}={'null' if node is None else node}: expected the settings of a loss; choose loss=NAME")
    return node


def loss_settings(node: Node) -> LossSettings:
    """Read `loss`; the short form of a single loss (`loss.temperature`) reaches its term here.

    Raises:
        UserError: a weight, a name or a key cannot be used.
    """
    terms = {}
    for name, term in _mapping("loss.terms", node.get("terms")).items():
        terms[name] = dict(_mapping(f"loss.terms.{name}", term))
    schedules = dict(_mapping("loss.schedules", node.get("schedules") or {}))
    hard_schedule = schedules.pop("hard_weight", None)
    for key, value in node.items():
        if key not in {"terms", "hard_weight", "schedules", "class_weights"}:  # the recipes have the last
            _to_the_term(terms, key, value)
    if schedules:
        _to_the_term(terms, "schedules", schedules)
    for name, term in terms.items():
        if term.get("_target_") is None:
            raise UserError(
                f"loss.terms.{name}: no such loss is chosen; write loss={name}, or loss=[...,{name}] for several"
            )
    published = [_weight(f"loss.terms.{name}.hard_weight", t.get("hard_weight", 1.0)) for name, t in terms.items()]
    hard = node["hard_weight"]
    hard_weight = max(published, default=1.0) if hard is None else _weight("loss.hard_weight", hard)
    parsed = {name: _term(name, term) for name, term in terms.items()}
    if hard_weight == 0 and not any(term.weight for term in parsed.values()):
        shown = ", ".join([f"loss.terms.{n}.weight=0" for n in parsed] + ["loss.hard_weight=0"])
        raise UserError(f"{shown}: all weights are zero; expected at least one above 0")
    return LossSettings(terms=parsed, hard_weight=hard_weight, hard_schedule=hard_schedule)


def _term(name: str, term: Node) -> TermSettings:
    key = f"loss.terms.{name}"
    own = {k: v for k, v in term.items() if k not in OF_TERM}
    said: dict[str, Any] = {k: term[k] for k in ("standardize", "student_layers", "teacher_layers") if k in term}
    schedules = {k: v for k, v in _mapping(f"{key}.schedules", term.get("schedules") or {}).items() if v is not None}
    weight = _weight(f"{key}.weight", term.get("weight", 1.0))
    return parsed(key, {"node": own, "weight": weight, "schedules": schedules, **said}, TermSettings)


def _to_the_term(terms: dict[str, Node], key: str, value: object) -> None:
    """`loss.temperature=2` is short for `loss.terms.kd.temperature=2` where kd is the only loss."""
    if len(terms) != 1:
        which = (
            "loss=none has no settings"
            if not terms
            else f"say whose, such as loss.terms.{next(iter(terms))}.{key}={value}"
        )
        raise UserError(f"loss.{key}={value}: {which}")
    name, term = next(iter(terms.items()))
    if key not in term and key not in OF_TERM:
        known = [k for k in term if k != "_target_"]
        raise UserError(f"loss.{key}={value}: loss={name} has no such key; {choices(key, known)}")
    if key == "schedules" and isinstance(value, dict):
        value = {**_mapping(f"loss.terms.{name}.schedules", term.get(key) or {}), **value}
    term[key] = value
