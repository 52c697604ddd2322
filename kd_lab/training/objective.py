"""What a step minimises: `hard_weight * CE + sum_i weight_i * loss_i`, and each part by its name.

Legend: B batch, K classes.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kd_lab.losses.common.loss import Loss, standardized
from kd_lab.schedules.common.temperature import tempered
from kd_lab.training.recipe import Schedule
from kd_lab.types import UNLABELLED, Batch, LossTerms, Outputs, labelled

HARD = "hard"
"""The name of the hard-label cross-entropy among the terms."""

HARD_WEIGHT = "hard_weight"

_RESERVED = (HARD, "total")


@dataclass(frozen=True)
class Term:
    """One soft term.

    weight: its factor in the total. standardize: the logits of both networks are z-scored over the classes first.
    student_slots, teacher_slots, view_slots: which of the networks' features, and of the batch's views, in this order,
    are the loss's. schedules: a setting of the loss that is a number ("temperature", or "weight") to the function that
    moves it, from the value that it has now as the base; a temperature to 1, where the function's `final` is None.
    """

    loss: Loss
    weight: float = 1.0
    standardize: bool = False
    student_slots: tuple[int, ...] = ()
    teacher_slots: tuple[int, ...] = ()
    view_slots: tuple[int, ...] = ()
    schedules: Mapping[str, Schedule] = field(default_factory=dict)


class Objective(nn.Module):
    """The weighted sum of the hard-label cross-entropy and named soft terms.

    The losses are submodules: what they train is in `parameters()` and in the checkpoint. A hard weight of 0 leaves the
    cross-entropy out; a soft term of weight 0 is still computed, so that its curve can be compared over a sweep.

    Args:
        terms: by name; empty to train on hard labels alone.
        hard_weight: weight of the cross-entropy with the labels.
        label_smoothing: share of the label's probability spread evenly over all classes, in [0, 1).
        hard_schedule: moves the hard weight.
        class_weights: [K], what each label's part of the cross-entropy counts; the mean is over samples all the same.

    Raises:
        ValueError: a weight is negative or not finite, all weights are 0, `label_smoothing` is out of range, a term has
            a name that cannot be used, or a schedule moves something that is no number of its loss.
    """

    def __init__(
        self,
        terms: Mapping[str, Term],
        hard_weight: float,
        label_smoothing: float = 0.0,
        hard_schedule: Schedule | None = None,
        class_weights: Tensor | None = None,
    ) -> None:
        super().__init__()
        _check_weight(f"`{HARD_WEIGHT}`", hard_weight)
        for name, term in terms.items():
            _check_weight(f"`weight` of the term `{name}`", term.weight)
        if hard_weight == 0 and all(term.weight == 0 for term in terms.values()):
            soft = ", ".join(f"the `weight` of `{name}`" for name in terms) or "there is no soft term"
            raise ValueError(f"Expected at least one weight to be > 0, but got `hard_weight` 0 and {soft}.")
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"Expected `label_smoothing` to be in [0, 1), but got {label_smoothing}.")
        self.hard_weight = float(hard_weight)
        self._with_hard = hard_weight > 0  # and stays there while a schedule brings the weight to 0
        self.label_smoothing = float(label_smoothing)
        self.class_weights: Tensor | None
        self.register_buffer("class_weights", class_weights, persistent=False)
        self.losses = nn.ModuleDict()
        for name, term in terms.items():
            _check_name(name, self.losses)
            self.losses[name] = term.loss
        self.terms = dict(terms)
        self._labelled = frozenset([HARD, *(name for name, term in terms.items() if term.loss.labelled_only)])
        self.weights = {name: float(term.weight) for name, term in terms.items()}
        self.scheduled = _scheduled(self.terms, self.hard_weight, hard_schedule)

    def forward(
        self,
        student: Outputs,
        teacher: Outputs | None,
        batch: Batch,
        weights: Mapping[str, float | Tensor] | None = None,
    ) -> LossTerms:
        """The objective of one batch.

        Where processes hold pieces of a batch, each weighs its means by its share: the mean of their gradients, which
        DDP takes, is then exactly the gradient of the mean over the whole batch. A loss that gathers has seen that.
        Where the optimizer steps after several batches, the sum of their gradients is that of the mean over all their
        samples in the same way. A loss that compares samples compares those of one batch.

        Args:
            student: logits [B, K] and features.
            teacher: logits [B, K] and features, or None where there is no teacher.
            batch: targets [B], `UNLABELLED` where there is no label. Of mixed samples the cross-entropy is mixed:
                `lambda CE(y) + (1 - lambda) CE(y')` (Zhang et al. 2018; Yun et al. 2019), a mean over what of them is
                labelled.
            weights: of the terms, in the place of those it was made with; every soft term has one, and `hard` if the
                cross-entropy is asked for.

        Returns:
            The total, and the terms before weight and share, in nats: "hard" (absent when its weight is 0) and each
            soft term by name. Terms still carry gradient: the caller detaches what it logs.

        Raises:
            ValueError: a term needs a teacher, but there is none.
        """
        share: tuple[float | Tensor, float | Tensor, float | Tensor] = batch.share or (1.0, 1.0, 1.0)
        of_labelled, of_all, of_gathered = share
        terms: dict[str, Tensor] = {}
        parts: list[Tensor] = []
        of_terms: Mapping[str, float | Tensor] = self.weights if weights is None else weights
        if self._with_hard if weights is None else HARD in weights:
            terms[HARD] = self.hard(student.logits, batch)
            weight = self.hard_weight if weights is None else weights[HARD]
            parts.append(_times(terms[HARD], weight * of_labelled))
        for name, term in self.terms.items():
            loss = term.loss
            if teacher is None and loss.needs_teacher:
                raise ValueError(f"Expected a teacher for the term `{name}`, but got None.")
            own = _seen(student, term, term.student_slots)
            theirs = None if teacher is None else _seen(teacher, term, term.teacher_slots)
            terms[name] = loss(own, theirs, batch)
            scale = of_gathered if loss.gather else of_labelled if loss.labelled_only else of_all
            parts.append(_times(terms[name], of_terms[name] * scale))
        return LossTerms(sum(parts[1:], start=parts[0]), terms, self._labelled)

    def show_hard(self) -> None:
        """Compute the cross-entropy at a weight of 0 too, so that its weight can rise."""
        self._with_hard = True

    def at_step(self, step: int, total_steps: int) -> None:
        """Set what is scheduled to its value for this optimizer step, 0 for the first."""
        for (name, setting), (schedule, base) in self.scheduled.items():
            value = schedule(step, base=base, total_steps=total_steps) if base else 0.0
            if not name:
                self.hard_weight = value
            elif setting == "weight":
                self.weights[name] = value
            else:
                setattr(self.losses[name], setting, value)

    def readings(self) -> dict[str, float]:
        """What is worth a curve beside the terms: scheduled settings as they are now, and what losses say of
        themselves; `kd_temperature`, `hard_weight`."""
        found = {}
        for name, setting in self.scheduled:
            if not name:
                found[HARD_WEIGHT] = self.hard_weight
            else:
                value = self.weights[name] if setting == "weight" else getattr(self.losses[name], setting)
                found[f"{name}_{setting}"] = float(value)
        for name, loss in self.losses.items():
            found |= {f"{name}_{what}": value for what, value in cast("Loss", loss).readings().items()}
        return found

    def hard(self, logits: Tensor, batch: Batch) -> Tensor:
        """The hard-label cross-entropy, a mean over the labelled points; 0 with a gradient of 0 when there is none."""
        wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
        targets, mixed = batch.targets, batch.mixed
        if mixed is not None:
            total = mixed.share * self._summed(wide, targets) + (1 - mixed.share) * self._summed(wide, mixed.targets)
            count = labelled(targets, mixed).sum()
            return total / torch.where(count > 0, count, 1.0)
        if self.class_weights is None and targets.device.type == "cpu" and int(targets.min()) >= 0:
            # Where looking needs no synchronisation it is cheaper than the count below: 55 against 85 us a step.
            return F.cross_entropy(wide, targets, label_smoothing=self.label_smoothing)
        # Not reduction="mean": that is 0/0 in a batch without labels.
        return self._summed(wide, targets) / (targets != UNLABELLED).sum().clamp(min=1)

    def _summed(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The cross-entropy of all labelled points together."""
        return F.cross_entropy(
            logits,
            targets,
            weight=self.class_weights,
            ignore_index=UNLABELLED,
            reduction="sum",
            label_smoothing=self.label_smoothing,
        )

    def extra_repr(self) -> str:
        """The settings, for `print(module)`."""
        return f"hard_weight={self.hard_weight}, weights={self.weights}, label_smoothing={self.label_smoothing}"


def _seen(outputs: Outputs, term: Term, slots: tuple[int, ...]) -> Outputs:
    """What one loss is shown: its own features and views, in its order."""
    if outputs.features or outputs.views:
        features = tuple(outputs.features[i] for i in slots)
        outputs = Outputs(outputs.logits, features, tuple(outputs.views[i] for i in term.view_slots))
    return standardized(outputs) if term.standardize else outputs


def _scheduled(
    terms: Mapping[str, Term], hard_weight: float, hard_schedule: Schedule | None
) -> dict[tuple[str, str], tuple[Schedule, float]]:
    """(term, setting) to its schedule and base; the hard weight belongs to no term."""
    found: dict[tuple[str, str], tuple[Schedule, float]] = {}
    if hard_schedule is not None:
        found["", HARD_WEIGHT] = (hard_schedule, hard_weight)
    for name, term in terms.items():
        for setting, schedule in term.schedules.items():
            base = term.weight if setting == "weight" else getattr(term.loss, setting, None)
            if not isinstance(base, int | float) or isinstance(base, bool):
                numbers = [k for k, v in vars(term.loss).items() if isinstance(v, float) and not k.startswith("_")]
                raise ValueError(
                    f"Expected the schedule of the term `{name}` to move one of {', '.join(['weight', *numbers])}, "
                    f"but got {setting}."
                )
            moved = tempered(schedule, name, base) if setting == "temperature" else schedule
            found[name, setting] = (moved, float(base))
    return found


def _times(value: Tensor, factor: float | Tensor) -> Tensor:
    # The common factor of 1 costs nothing, forward or backward.
    return value if isinstance(factor, float) and factor == 1.0 else value * factor


def _check_weight(what: str, weight: float) -> None:
    if not (weight >= 0 and math.isfinite(weight)):
        raise ValueError(f"Expected {what} to be a finite number >= 0, but got {weight}.")


def _check_name(name: str, losses: nn.ModuleDict) -> None:
    if name in _RESERVED:
        raise ValueError(
            f"Expected another name for the term `{name}`: `{name}` is a key that the objective itself writes."
        )
    # nn.ModuleDict keeps its modules as attributes, so its own attributes are taken.
    if not name.isidentifier() or hasattr(losses, name):
        raise ValueError(
            f"Expected a plain word that PyTorch does not use itself as the name of a term, but got `{name}`."
        )
