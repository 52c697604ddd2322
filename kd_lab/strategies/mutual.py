"""Mutual learning: networks that are trained at once, each from the labels and from what the others say.

Source: Zhang, Xiang, Hospedales, Lu 2018 (DML, arXiv:1706.00384), equations 6 and 9:
`L_k = CE_k + 1/(K-1) sum_{j != k} KL(p_j || p_k)` at temperature 1. The others are targets, without a graph, and all
networks step at once, where the authors let one step after the other.

Legend: P networks, the student first, B batch, K classes.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from kd_lab.inputs import call
from kd_lab.losses.common.outputs import widened
from kd_lab.losses.common.probabilities import kl, log_softmax
from kd_lab.models.common.fitted import Fitted
from kd_lab.strategies.common.each import check_asked_of_each
from kd_lab.strategies.common.strategy import Node, Parties, Strategy, Taught, Training
from kd_lab.types import Batch, LossTerms, Outputs, Step

MUTUAL = "mutual"
"""The name of the mutual term among the student's."""


class Mutual(Strategy):
    """The student and its peers teach one another, on labelled and unlabelled points.

    Each has the student's recipe and a seed of its own, learns what the loss asks of the student (from the teacher too,
    if there is one), and is kept in a run of its own.

    Args:
        peers: what is trained beside the student; none named: one network of its own kind.
        weight: of what a network learns from the others.

    Raises:
        ValueError: `weight` is not a finite number above 0.
    """

    on_transfer = True
    needs_loss = False

    def __init__(self, peers: Sequence[Node] = (), *, weight: float = 1.0) -> None:
        if not (weight > 0 and math.isfinite(weight)):
            raise ValueError(f"Expected `weight` to be a finite number > 0, but got {weight}.")
        self.named, self.weight = tuple(peers), weight

    def peers(self) -> tuple[Node | None, ...]:
        """Those that were named, or the student's own network once more."""
        return self.named or (None,)

    def check(self, parties: Parties) -> None:
        """Peers learn by gradients; what they learn of the loss is asked of each by itself.

        Raises:
            ValueError: one is fitted; the loss compares layers, or remembers samples.
        """
        for number, peer in enumerate(parties.peers, start=1):
            if isinstance(peer, Fitted):
                raise ValueError(
                    f"peers: number {number} is fitted, not trained by gradients; expected another network"
                )
        check_asked_of_each(parties, "peers")

    def step(self, training: Training) -> Step:
        """All networks at once."""
        return Peers(training, self.weight)

    def described(self, teacher: str, student: str, links: tuple[str, ...]) -> str:
        """`the student mlp 32 from the labels, and with 1 peer`."""
        count = len(self.peers())
        return f"{super().described(teacher, student, links)}, and with {count} peer{'s' * (count > 1)}"


class Peers(Taught):
    """The sum of every network's own loss: the objective, and `weight` times the mean KL to it from each other.

    The student's terms have the names of the objective's, a peer's begin with `peer_1_`.

    Args:
        training: with its peers.
        weight: of the mutual terms.
    """

    def __init__(self, training: Training, weight: float) -> None:
        super().__init__(training)
        self.peers = nn.ModuleList(training.peers)
        self.weight = weight

    def forward(self, batch: Batch) -> LossTerms:
        """Every network's terms, and the sum of all that they weigh."""
        taught = None if self.teacher is None else self.teacher(batch)
        said = [self.answers(batch), *(_answers(peer, batch) for peer in self.peers)]
        each: list[LossTerms] = [self.objective(one, taught, batch) for one in said]
        mutual = _mutual([widened(one.logits) for one in said])
        share = 1.0 if batch.share is None else batch.share.soft
        total = torch.stack([one.total for one in each]).sum() + self.weight * share * torch.stack(mutual).sum()
        terms: dict[str, Tensor] = {}
        labelled: set[str] = set()
        for number, (one, value) in enumerate(zip(each, mutual, strict=True)):
            prefix = f"{_name(number)}_" if number else ""
            terms |= {f"{prefix}{name}": term for name, term in one.terms.items()} | {f"{prefix}{MUTUAL}": value}
            labelled |= {f"{prefix}{name}" for name in one.labelled}
        found = LossTerms(total, terms, frozenset(labelled))
        return found if taught is None else replace(found, teacher_top=taught.logits.max())

    def followed(self) -> Mapping[str, nn.Module]:
        """Every peer."""
        return {_name(number): peer for number, peer in enumerate(self.peers, start=1)}


def _name(number: int) -> str:
    return f"peer_{number}"


def _answers(network: nn.Module, batch: Batch) -> Outputs:
    return Outputs(call(network, batch.inputs), views=tuple(call(network, view) for view in batch.views))


def _mutual(logits: Sequence[Tensor]) -> list[Tensor]:
    """Of each network the mean over the others of KL(p_j || p_k), in nats, a mean over the samples."""
    log_p = [log_softmax(logits_BK) for logits_BK in logits]
    taught = [one.detach() for one in log_p]
    return [
        torch.stack([kl(other, own) for j, other in enumerate(taught) if j != k]).mean() for k, own in enumerate(log_p)
    ]
