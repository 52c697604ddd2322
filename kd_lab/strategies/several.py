"""Several teachers of any kinds, beside the job's own: what they say is combined, or each teaches for itself.

Sources: Hinton, Vinyals, Dean 2015 (mean of probabilities or of logits); You et al. 2017 (several teachers, KDD); Kwon
et al. 2020 (weights by entropy); Zhang, Chen, Wang 2022 (CA-MKD); Du et al. 2020 (AE-KD); Fukuda et al. 2017 (one
teacher by chance). Which equation is where: `kd_lab.strategies.common.combining`.

Legend: M teachers, B batch, K classes.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from kd_lab.losses.common.outputs import widened
from kd_lab.strategies.common.combining import by_confidence, by_entropy, mean_probability, min_norm, weighted
from kd_lab.strategies.common.multiple import EachTeacher, SeveralTeachers, top
from kd_lab.strategies.common.strategy import TEACHER, Link, Node, Parties, Strategy, Training
from kd_lab.training.objective import HARD, Objective
from kd_lab.types import Batch, LossTerms, Outputs, Step, Teacher

Combine = Literal["mean_probability", "mean_logit", "each", "weighted", "entropy", "confidence", "random", "min_norm"]
OF_PROBABILITIES = {"mean_probability", "weighted", "entropy", "confidence"}
"""These give logits that say the right probabilities, and no more than that."""
AT_TEMPERATURE = {"weighted", "entropy", "confidence"}
"""These are combined at the temperature of the loss."""


class Several(Strategy):
    """The student learns from all of them at once.

    `mean_probability`: from the mean of their probabilities at T = 1, as an ensemble says it. `mean_logit`: from their
    mean logits, a geometric mean. `each`: the mean of the losses to each. `weighted`, `entropy`, `confidence`: from a
    weighted mean of the probabilities at the temperature of the loss (1 where it has none), whose gradient is for KD
    that of the weighted sum of the losses to each; the weights are given, or each sample's own. `random`: each step
    from one, by chance. `min_norm`: from each, with weights that make the gradient with regard to the student's logits
    shortest.

    Args:
        teachers: networks that are trained as the job's own teacher is, and found again by any job.
        combine: how.
        weights: of `weighted`: one for each, the job's own teacher first; they are divided by their sum.
        cap: of `min_norm`: no teacher counts more, 0..1.

    Raises:
        ValueError: there is no teacher, `combine` is none of these, `weights` do not belong to it, or `weights` or
            `cap` are out of range.
    """

    def __init__(
        self,
        teachers: Sequence[Node],
        *,
        combine: Combine = "mean_probability",
        weights: Sequence[float] | None = None,
        cap: float = 0.6,
    ) -> None:
        if not teachers:
            raise ValueError("Expected `teachers` to be one network or more, such as [cnn,mlp_128], but got [].")
        if combine not in get_args(Combine):
            raise ValueError(f"Expected `combine` to be one of {', '.join(get_args(Combine))}, but got {combine}.")
        if (weights is not None) != (combine == "weighted"):
            raise ValueError(
                f"Expected `weights` to be given with combine=weighted and there alone, but got {weights}."
            )
        if weights is not None and not (all(math.isfinite(w) and w >= 0 for w in weights) and sum(weights) > 0):
            raise ValueError(f"Expected `weights` to be finite numbers >= 0, not all of them 0, but got {weights}.")
        if not 0 < cap <= 1:
            raise ValueError(f"Expected `cap` to be in (0, 1], but got {cap}.")
        self.teachers, self.combine, self.weights, self.cap = tuple(teachers), combine, weights, cap

    def links(self) -> tuple[Link, ...]:
        """Each a teacher of the labels."""
        return tuple(Link(node, (), is_teacher=True) for node in self.teachers)

    def taught_by(self) -> tuple[int, ...]:
        """The job's own and all of them."""
        return tuple(range(TEACHER, len(self.teachers) + 1))

    def check(self, parties: Parties) -> None:
        """There are several; the loss is one of logits, and can do with what is combined.

        Raises:
            ValueError: there is one teacher; `weights` or `cap` do not fit their number; the loss compares layers or
                remembers samples, or what `combine` gives has no meaning for it.
        """
        count = len(self.teachers) + (parties.teacher is not None)
        if count < 2:
            raise ValueError("teachers: one teacher alone (teacher=none); expected two or more, such as [cnn,mlp_128]")
        if self.weights is not None and len(self.weights) != count:
            raise ValueError(
                f"weights={list(self.weights)}: expected {count}, one for each teacher, the job's own first"
            )
        if self.combine == "min_norm" and self.cap * count < 1:
            raise ValueError(f"cap={self.cap}: {count} teachers cannot make up the whole; expected at least 1/{count}")
        if parties.compares_layers:
            raise ValueError("teachers: a loss of layers is bound to one network; expected a loss of logits")
        for name, term in parties.objective.terms.items():
            if term.loss.has_memory:
                raise ValueError(f"teachers: loss={name} remembers each sample, once a step; expected another loss")
            if self.combine in OF_PROBABILITIES and term.loss.needs_teacher and not term.loss.shift_invariant:
                raise ValueError(
                    f"combine={self.combine}: gives probabilities, and loss={name} compares the logits themselves; "
                    "expected combine=mean_logit or each"
                )
        temperatures = _temperatures(parties.objective)
        if self.combine in AT_TEMPERATURE and len({*temperatures.values()}) > 1:
            told = ", ".join(f"{name} at {value:g}" for name, value in temperatures.items())
            raise ValueError(f"combine={self.combine}: combines at one temperature, and the loss has {told}")

    def step(self, training: Training) -> Step:
        """What the way of combining does with a batch."""
        if self.combine == "each":
            return EachTeacher(training)
        if self.combine == "random":
            return OneByChance(training)
        if self.combine == "min_norm":
            return MinNorm(training, self.cap)
        return Combined(training, self.combine, self.weights)


class _Shared(SeveralTeachers):
    """Its curves: how much each teacher counts, `share_of_teacher_1` the job's own or the first."""

    _shares: Tensor | None = None

    def readings(self) -> dict[str, float]:
        """As of the last batch."""
        shares = [] if self._shares is None else self._shares.tolist()
        return super().readings() | {f"share_of_teacher_{i}": share for i, share in enumerate(shares, start=1)}


class Combined(_Shared):
    """One answer is made of what all teachers say, and the objective is asked once.

    Args:
        training: with its teachers.
        combine: one that makes one answer of many.
        weights: one for each teacher, where they are given.
    """

    def __init__(self, training: Training, combine: Combine, weights: Sequence[float] | None = None) -> None:
        super().__init__(training)
        self.combine = combine
        self.weights = weights

    def forward(self, batch: Batch) -> LossTerms:
        """Hard-label cross-entropy and soft terms, each by name."""
        said = [teacher(batch) for teacher in self.teachers]
        terms: LossTerms = self.objective(self.answers(batch), self.target(said, batch), batch)
        return replace(terms, teacher_top=top(said))

    def target(self, said: Sequence[Outputs], batch: Batch) -> Outputs:
        """What stands for the teacher."""
        logits_MBK = _stacked([one.logits for one in said])
        views = [_stacked(list(several)) for several in zip(*(one.views for one in said), strict=True)]
        if self.combine in AT_TEMPERATURE:
            weights_MB = self._weights(logits_MBK, batch)
            self._shares = weights_MB.mean(dim=1)
            temperature = next(iter(_temperatures(self.objective).values()), 1.0)
            one, *others = (weighted(z_MBK, weights_MB, temperature) for z_MBK in (logits_MBK, *views))
        else:
            made = mean_probability if self.combine == "mean_probability" else _mean_logit
            one, *others = (made(z_MBK) for z_MBK in (logits_MBK, *views))
        return Outputs(one, views=tuple(others))

    def _weights(self, logits_MBK: Tensor, batch: Batch) -> Tensor:
        if self.combine == "entropy":
            return by_entropy(logits_MBK)
        if self.combine == "confidence":
            return by_confidence(logits_MBK, batch)
        assert self.weights is not None
        given_M = logits_MBK.new_tensor(self.weights)
        return (given_M / given_M.sum()).unsqueeze(1).expand(logits_MBK.shape[:2])


class OneByChance(EachTeacher):
    """Each step one teacher alone teaches; the others are not asked."""

    def asked(self) -> list[Teacher]:
        """Which follows from the training's seed and the number of the step."""
        return [self.teachers[int(self.drawn().argmax())]]


class MinNorm(_Shared, EachTeacher):
    """The losses to each, weighed so that their gradient with regard to the student's logits is shortest.

    Args:
        training: with its teachers.
        cap: no teacher counts more.
    """

    def __init__(self, training: Training, cap: float) -> None:
        super().__init__(training)
        self.cap = cap

    def shares(self, own: Outputs, each: Sequence[LossTerms], batch: Batch) -> Tensor:
        """Of the soft terms alone: the hard labels are the same to all."""
        of_labelled = 1.0 if batch.share is None else batch.share.hard
        gradients = []
        for one in each:
            soft = one.total
            if HARD in one.terms:
                soft = soft - self.objective.hard_weight * of_labelled * one.terms[HARD]
            (gradient,) = torch.autograd.grad(soft, own.logits, retain_graph=True)
            gradients.append(gradient.detach().double().flatten())
        stacked = torch.stack(gradients)
        products_MM = stacked @ stacked.T
        if torch.distributed.is_initialized():
            torch.distributed.all_reduce(products_MM)  # each process has a piece of the batch, and all weigh alike
        self._shares = min_norm(products_MM, self.cap)
        return self._shares


def _stacked(logits: list[Tensor]) -> Tensor:
    return torch.stack([widened(one) for one in logits])


def _mean_logit(logits_MBK: Tensor) -> Tensor:
    return logits_MBK.mean(dim=0)


def _temperatures(objective: Objective) -> dict[str, float]:
    """Of each term that a teacher teaches by, as it is now; 1 of a loss that has no such number."""
    found: dict[str, float] = {}
    for name, term in objective.terms.items():
        if term.loss.needs_teacher:
            told: Any = getattr(term.loss, "temperature", 1.0)
            found[name] = float(told) if isinstance(told, int | float) else 1.0
    return found
