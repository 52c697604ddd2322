"""Self-distillation: small classifiers at the student's inner stages learn from its own final answer.

Source: Zhang et al. 2019 (BYOT, arXiv:1905.08094), equation 6, over the exits i:
`(1-a) sum CE_i + a T^2 sum KL(p^T || p_i^T) + b sum_i sum_d [f_i > 0 or f > 0] (f_i - f)^2`, p and f being the final
answer and the vector that it is read from, without a graph. a = 0.1, T = 3 and b = 1e-6 of the sum over a batch of 128
are those of the authors' code; here the sum over d is a mean over the samples, so b is 128 times that and no batch size
is in it. Their code also multiplies the final cross-entropy by 1 - a; ours leaves the student's own objective as it is,
as the paper does.

Differs: an exit is the mean over the positions and two linear layers, where the authors have convolutions.

Legend: B batch, K classes, C channels of a stage, D size of the vector that the classifier reads.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from kd_lab.insight.probe import SAMPLES, Probe
from kd_lab.insight.stages import embedding, inner_ends, listed, pooling
from kd_lab.insight.taps import Tap, Taps
from kd_lab.losses.common.checks import not_negative, positive
from kd_lab.losses.common.outputs import widened
from kd_lab.losses.common.probabilities import kl, log_softmax
from kd_lab.strategies.common.strategy import Parties, Strategy, Taught, Training
from kd_lab.types import Batch, LossTerms, Step

HARD, SOFT, FEATURE = "hard", "soft", "feature"
"""The names of an exit's terms, behind `exit_1_`."""


class SelfDistillation(Strategy):
    """Every stage of the student but the last has an exit, and all are trained with the student.

    The exits are not part of the student that is kept: it has the weights and the cost of the plain network.

    Args:
        share: a, of the final answer in what an exit learns; the rest is the labels', 0..1.
        temperature: T, the softening of both answers.
        feature_weight: b, of the distance between the vectors that are read, a sum over D and a mean over the samples.

    Raises:
        ValueError: `share` is not between 0 and 1, `temperature` not above 0, or `feature_weight` negative.
    """

    needs_loss = False

    def __init__(self, *, share: float = 0.1, temperature: float = 3.0, feature_weight: float = 1.28e-4) -> None:
        if not 0 <= share <= 1:
            raise ValueError(f"Expected `share` to be in [0, 1], but got {share}.")
        self.share = share
        self.temperature = positive("temperature", temperature)
        self.feature_weight = not_negative("feature_weight", feature_weight)

    def check(self, parties: Parties) -> None:
        """The student has stages.

        Raises:
            ValueError: it has fewer than two, or no vector before its logits.
        """
        probe = Probe.of(parties.student, parties.data.example(SAMPLES))
        if not inner_ends(probe):
            raise ValueError(
                "the student has fewer than two stages, so there is no place for an exit; expected a deeper one, "
                f"such as student.widths=[64,32] or student=cnn ({listed(probe)})"
            )
        embedding(probe)

    def step(self, training: Training) -> Step:
        """The student with its exits, whose first weights follow from the training's seed."""
        probe = Probe.of(training.network, training.data.example(SAMPLES))
        read, (size, *_) = embedding(probe)
        found = inner_ends(probe)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(training.seed)
            exits = [Exit(layer.shape[0], size, training.data.num_classes) for layer in found]
        return Exits(training, exits, [*map(pooling, found), read], self)


class Exit(nn.Module):
    """The mean over the positions, a vector as the classifier reads it, and logits.

    Args:
        channels: C.
        size: D.
        num_classes: K.
    """

    def __init__(self, channels: int, size: int, num_classes: int) -> None:
        super().__init__()
        self.bottleneck = nn.Linear(channels, size)
        self.classifier = nn.Linear(size, num_classes)

    def forward(self, feature: Tensor) -> tuple[Tensor, Tensor]:
        """A stage's [B, C, ...] to the vector [B, D] and logits [B, K]."""
        pooled_BC = feature.flatten(2).mean(dim=2) if feature.ndim > 2 else feature
        vector_BD = self.bottleneck(pooled_BC).relu()
        return vector_BD, self.classifier(vector_BD)


class Exits(Taught):
    """The student's own objective, and what its exits learn from the labels and from its final answer.

    Args:
        training: of the student.
        exits: in the order of the stages.
        taps: where each listens, and last the vector that the classifier reads.
        settings: share, temperature and weight.
    """

    def __init__(
        self, training: Training, exits: Sequence[Exit], taps: Sequence[Tap], settings: SelfDistillation
    ) -> None:
        super().__init__(replace(training, taps=(*training.taps, *taps)))
        self.exits = nn.ModuleList(exits)
        self.settings = settings
        self._own = len(training.taps)

    def forward(self, batch: Batch) -> LossTerms:
        """The objective's terms, and those of each exit by its name."""
        taught = None if self.teacher is None else self.teacher(batch)
        own = self.answers(batch)
        *seen, read = own.features[self._own :]
        found: LossTerms = self.objective(replace(own, features=own.features[: self._own]), taught, batch)
        of_labelled, of_all = (1.0, 1.0) if batch.share is None else (batch.share.hard, batch.share.soft)
        a, b = self.settings.share, self.settings.feature_weight
        total, terms, labelled = found.total, dict(found.terms), {*found.labelled}
        for name, leaves, feature in zip(self._names(), self.exits, seen, strict=True):
            vector, logits = leaves(feature)
            hard, soft = self.objective.hard(logits, batch), self._soft(own.logits.detach(), logits)
            apart = _apart(widened(vector), widened(read.detach()))
            total = total + (1 - a) * of_labelled * hard + of_all * (a * soft + b * apart)
            terms |= {f"{name}_{HARD}": hard, f"{name}_{SOFT}": soft, f"{name}_{FEATURE}": apart}
            labelled.add(f"{name}_{HARD}")
        top = None if taught is None else taught.logits.max()
        return LossTerms(total, terms, frozenset(labelled), top)

    def _soft(self, final_BK: Tensor, logits_BK: Tensor) -> Tensor:
        temperature = self.settings.temperature
        log_p_BK, log_q_BK = (log_softmax(widened(one), temperature) for one in (final_BK, logits_BK))
        return temperature**2 * kl(log_p_BK, log_q_BK)

    def _names(self) -> list[str]:
        return [f"exit_{number}" for number in range(1, len(self.exits) + 1)]

    def followed(self) -> Mapping[str, nn.Module]:
        """The student as it leaves by each exit."""
        return {name: _Early(self, number) for number, name in enumerate(self._names())}


def _apart(vector_BD: Tensor, read_BD: Tensor) -> Tensor:
    """The squared distance where one of the two is above 0, summed over D, a mean over the samples."""
    counts_BD = (vector_BD > 0) | (read_BD > 0)
    return ((vector_BD - read_BD).square() * counts_BD).sum(dim=1).mean()


class _Early(nn.Module):
    """The network up to one exit: inputs to its logits. The step's taps are attached."""

    def __init__(self, step: Exits, number: int) -> None:
        super().__init__()
        self.network, self.exit = step.network, step.exits[number]
        self._taps: Taps = step.taps
        self._place = step._own + number

    def forward(self, *inputs: Tensor, **named: Tensor) -> Tensor:
        """Inputs [B, ...] to logits [B, K]."""
        self.network(*inputs, **named)
        logits_BK: Tensor
        _, logits_BK = self.exit(self._taps.take(named or inputs[0])[self._place])
        return logits_BK
