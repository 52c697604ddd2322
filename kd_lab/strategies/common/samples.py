"""The objective sample by sample, for strategies that weigh samples.

Legend: B batch, K classes.
"""

import warnings
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from kd_lab.losses.common.loss import Loss, standardized
from kd_lab.losses.common.outputs import detached, in_float32
from kd_lab.strategies.common.strategy import Parties
from kd_lab.training.objective import HARD, Objective
from kd_lab.types import UNLABELLED, Batch, LossTerms, Outputs, labelled


def check_samples(parties: Parties, key: str) -> None:
    """Every soft term can be asked sample by sample: two made-up samples are tried.

    Raises:
        ValueError: one compares samples or layers, remembers or draws, or cannot be computed so.
    """
    for name, term in parties.objective.terms.items():
        loss = term.loss
        reasons = {
            "compares layers": loss.layers is not None,
            "compares the samples of a batch": loss.batch_relational or loss.batch_normalized,
            "wants further views of a sample": bool(term.view_slots),
            "remembers samples": loss.has_memory,
            "draws at random": loss.draws,
            "cannot be computed for a sample alone": not _is_askable(loss, parties.data.num_classes),
        }
        if reason := next((why for why, holds in reasons.items() if holds), None):
            raise ValueError(f"{key}: weighs samples, and {name} {reason}; expected a loss such as loss=kd")


def weighed(
    objective: Objective,
    own: Outputs,
    taught: Outputs,
    batch: Batch,
    weights_B: Tensor | None,
    *,
    with_hard: bool = True,
) -> LossTerms:
    """The objective with a weight for each sample; the terms by name are those before any weight.

    Args:
        objective: its terms are weighed as they are configured.
        own: the student's.
        taught: the teacher's.
        batch: what both answered.
        weights_B: None: 1 of each, which is the objective itself.
        with_hard: whether the cross-entropy with the labels is weighed too.
    """
    of_labelled, of_all, _ = batch.share or (1.0, 1.0, 1.0)
    weights_B = torch.ones_like(own.logits[:, 0]) if weights_B is None else weights_B
    terms: dict[str, Tensor] = {}
    total = torch.zeros((), device=weights_B.device)
    if objective.hard_weight > 0:
        hard_B = _hard(objective, own.logits, batch)
        terms[HARD] = hard_B.mean()
        total = total + objective.hard_weight * of_labelled * ((weights_B * hard_B) if with_hard else hard_B).mean()
    for name, term in objective.terms.items():
        ours, theirs = (standardized(one) if term.standardize else one for one in (own, taught))
        soft_B = asked(term.loss, ours, theirs, batch)
        terms[name] = soft_B.mean()
        scale = of_labelled if term.loss.labelled_only else of_all
        total = total + objective.weights[name] * scale * (weights_B * soft_B).mean()
    known = frozenset([HARD, *(name for name, term in objective.terms.items() if term.loss.labelled_only)])
    return LossTerms(total, terms, known, teacher_top=taught.logits.max())


def asked(loss: Loss, own: Outputs, taught: Outputs, batch: Batch) -> Tensor:
    """The loss of each sample [B], of which its value is the mean."""

    def one(z_s_K: Tensor, z_t_K: Tensor, target: Tensor, index: Tensor) -> Tensor:
        alone = batch._replace(targets=target[None], index=index[None], views=(), mixed=None)
        return loss.compute(Outputs(z_s_K[None]), Outputs(z_t_K[None]), alone)

    wide, theirs = in_float32(replace(own, features=(), views=())), detached(in_float32(replace(taught, features=())))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="There is a performance drop")  # kl_div goes sample by sample
        losses_B: Tensor = torch.vmap(one)(wide.logits, theirs.logits, batch.targets, batch.index)
    return losses_B * _by_labelled(batch) if loss.labelled_only else losses_B


def entropy(logits_BK: Tensor) -> Tensor:
    """Of softmax(logits), by the largest there is: 0..1, [B]."""
    log_p_BK = F.log_softmax(logits_BK.float(), dim=-1)
    # A class of probability 0 has no part in it.
    parts_BK = torch.where(log_p_BK.isneginf(), 0.0, log_p_BK.exp() * log_p_BK)
    return -parts_BK.sum(-1) / torch.tensor(float(logits_BK.shape[-1])).log()


def _hard(objective: Objective, logits_BK: Tensor, batch: Batch) -> Tensor:
    """The cross-entropy of each sample [B], of which the mean is that over the labelled ones."""

    def of(targets: Tensor) -> Tensor:
        return F.cross_entropy(
            logits_BK.to(torch.promote_types(logits_BK.dtype, torch.float32)),
            targets,
            weight=objective.class_weights,
            ignore_index=UNLABELLED,
            reduction="none",
            label_smoothing=objective.label_smoothing,
        )

    own_B = of(batch.targets)
    if batch.mixed is not None:
        own_B = batch.mixed.share * own_B + (1 - batch.mixed.share) * of(batch.mixed.targets)
    return own_B * _by_labelled(batch)


def _by_labelled(batch: Batch) -> Tensor:
    """What makes a mean over all samples one over the labelled ones."""
    count = labelled(batch.targets, batch.mixed).sum()
    return len(batch.targets) / torch.where(count > 0, count, 1)


def _is_askable(loss: Loss, num_classes: int) -> bool:
    logits = torch.linspace(-1, 1, 2 * num_classes).reshape(2, num_classes)
    batch = Batch(logits, torch.arange(2) % num_classes, torch.arange(2))
    try:
        with torch.no_grad():
            return asked(loss, Outputs(logits), Outputs(logits.flip(1)), batch).shape == (2,)
    except (RuntimeError, ValueError, IndexError, NotImplementedError, AssertionError, TypeError):
        return False
