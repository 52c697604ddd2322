"""Native ensemble: branches on the student's first stages, and each learns from all of them together.

Source: Lan, Zhu, Gong 2018 (ONE, arXiv:1806.04606, NeurIPS), section 3, and the authors' code: with logits z_i of
branch i and a gate g, a linear layer, BatchNorm, ReLU and softmax on the shared features' mean over the positions,
`z_e = sum_i g_i z_i` and `L = sum_i CE(z_i) + CE(z_e) + T^2 sum_i KL(p_e^T || p_i^T)`, with T = 3 and three branches.
p_e is a target without a graph, as in their code: the ensemble learns from the labels, not to be like its branches.

Differs: their code lets the weight of the KL grow over the first epochs; here it stays. CE stands for whatever the loss
asks of the student, of each branch and of the ensemble alike; with `teacher=none loss=none` that is the cross-entropy.
A new branch begins with the numbers of the student's first weights in another order, which is another draw of the same
distribution; of weights that were trained before it is noise.

Legend: P branches, the student first, B batch, K classes, C channels of the shared features.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from kd_lab.inputs import Inputs
from kd_lab.insight.probe import SAMPLES, Layer, Probe
from kd_lab.insight.stages import inner_ends, listed, pooling
from kd_lab.insight.tails import Tail, heard_as_said
from kd_lab.losses.common.checks import positive
from kd_lab.losses.common.outputs import widened
from kd_lab.losses.common.probabilities import kl, log_softmax
from kd_lab.norm import BatchNorm
from kd_lab.seeds import mixed
from kd_lab.strategies.common.each import check_asked_of_each
from kd_lab.strategies.common.strategy import Parties, Strategy, Taught, Training
from kd_lab.types import Batch, LossTerms, Outputs, Step

ENSEMBLE = "ensemble"
"""What all branches together are called, among the terms and in curves of the validation part."""
FROM_ENSEMBLE = "from_ensemble"
"""The name of what a branch learns from them."""


class NativeEnsemble(Strategy):
    """Branches that share all stages of the student but its last, on labelled and unlabelled points.

    The student is the first of them, a plain network: it is kept with its own weights and cost, and without the others.

    Args:
        branches: P, the student one of them.
        temperature: T, the softening of both answers.
        weight: of what each branch learns from the ensemble.

    Raises:
        ValueError: `branches` is below 2, or `temperature` or `weight` not a finite number above 0.
    """

    on_transfer = True
    needs_loss = False

    def __init__(self, *, branches: int = 3, temperature: float = 3.0, weight: float = 1.0) -> None:
        if branches < 2:
            raise ValueError(
                f"Expected `branches` to be >= 2, the student one of them, but got {branches}; strategy=none is the "
                "student alone."
            )
        self.branches = branches
        self.temperature = positive("temperature", temperature)
        self.weight = positive("weight", weight)

    def check(self, parties: Parties) -> None:
        """The student has a stage to share and one behind it, and the loss is asked of each branch.

        Raises:
            ValueError: it has fewer than two stages, or ways around them; the loss compares layers, or remembers.
        """
        check_asked_of_each(parties, "branches")
        example = parties.data.example(SAMPLES)
        probe = Probe.of(parties.student, example)
        Tail(probe, shared_end(probe), example)

    def step(self, training: Training) -> Step:
        """The student with its branches and gate, whose first weights follow from the training's seed."""
        example = training.data.example(SAMPLES)
        probe = Probe.of(training.network, example)
        end = shared_end(probe)
        tails = [Tail(probe, end, example) for _ in range(1, self.branches)]
        for number, tail in enumerate(tails, start=1):
            tail.draw(mixed(training.seed, number) >> 1)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(training.seed)
            gate = Gate(end.shape[0], self.branches)
        return Branched(training, tails, gate, end, self)

    def described(self, teacher: str, student: str, links: tuple[str, ...]) -> str:
        """`the student cnn from the labels, and in 3 branches from all of them together`."""
        told = super().described(teacher, student, links)
        return f"{told}, and in {self.branches} branches from all of them together"


def shared_end(probe: Probe) -> Layer:
    """Where the branches part: the end of the last stage behind which there is more than the classifier.

    Raises:
        ValueError: there is none.
    """
    found = inner_ends(probe)
    if not found:
        raise ValueError(
            "the student has fewer than two stages, so there is nothing that branches could share; expected a deeper "
            f"one, such as student.widths=[64,32] or student=cnn ({listed(probe)})"
        )
    return max(found, key=lambda end: end.order)


class Gate(nn.Module):
    """How much each branch counts, by sample.

    Args:
        channels: C.
        branches: P.
    """

    def __init__(self, channels: int, branches: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, branches)
        self.norm = BatchNorm(branches)

    def forward(self, feature: Tensor) -> Tensor:
        """The shared features [B, C, ...] to weights [B, P] that sum to 1."""
        pooled_BC = feature.flatten(2).mean(dim=2) if feature.ndim > 2 else feature
        said_BP: Tensor = self.norm(self.linear(pooled_BC))
        return said_BP.relu().softmax(dim=1)


class Branched(Taught):
    """The sum of what the loss asks of each branch and of the ensemble, and of what each branch learns from that.

    The student's terms have the names of the objective's, a branch's begin with `branch_1_`, those of all together with
    `ensemble_`.

    Args:
        training: of the student.
        tails: the other branches.
        gate: of all.
        end: where they part.
        settings: temperature and weight.
    """

    def __init__(
        self, training: Training, tails: Sequence[Tail], gate: Gate, end: Layer, settings: NativeEnsemble
    ) -> None:
        super().__init__(replace(training, taps=(heard_as_said(end), pooling(end))))
        self.tails = nn.ModuleList(tails)
        self.gate = gate
        self.settings = settings

    def forward(self, batch: Batch) -> LossTerms:
        """Every branch's terms and the ensemble's, and the sum of all that they weigh."""
        taught = None if self.teacher is None else self.teacher(batch)
        said, views = self.all_say(batch.inputs), [self.all_say(view) for view in batch.views]
        each: dict[str, LossTerms] = {
            name: self.objective(Outputs(logits, views=tuple(view[name] for view in views)), taught, batch)
            for name, logits in said.items()
        }
        soft = {name: self._soft(said[ENSEMBLE].detach(), logits) for name, logits in said.items() if name != ENSEMBLE}
        share = 1.0 if batch.share is None else batch.share.soft
        total = torch.stack([one.total for one in each.values()]).sum()
        total = total + self.settings.weight * share * torch.stack([*soft.values()]).sum()
        terms = {_of(name, term): value for name, one in each.items() for term, value in one.terms.items()}
        terms |= {_of(name, FROM_ENSEMBLE): value for name, value in soft.items()}
        labelled = frozenset(_of(name, term) for name, one in each.items() for term in one.labelled)
        return LossTerms(total, terms, labelled, None if taught is None else taught.logits.max())

    def all_say(self, inputs: Inputs) -> dict[str, Tensor]:
        """The logits [B, K] of the student, whose name is empty, of the other branches, and of the ensemble."""
        own = self.said(inputs)
        shared, feature = self.taps.take(inputs)
        others = {f"branch_{number}": tail(inputs, shared) for number, tail in enumerate(self.tails, start=1)}
        branches = {"": own, **others}
        gate_BP1 = self.gate(feature).unsqueeze(2)
        return branches | {ENSEMBLE: (gate_BP1 * torch.stack([*branches.values()], dim=1)).sum(dim=1)}

    def _soft(self, ensemble_BK: Tensor, logits_BK: Tensor) -> Tensor:
        temperature = self.settings.temperature
        log_p_BK, log_q_BK = (log_softmax(widened(one), temperature) for one in (ensemble_BK, logits_BK))
        return temperature**2 * kl(log_p_BK, log_q_BK)

    def followed(self) -> Mapping[str, nn.Module]:
        """The other branches, and all together; with `recipe.ema` as they are trained, not their averages."""
        numbers = range(1, len(self.tails) + 1)
        return {name: _Saying(self, name) for name in (*(f"branch_{number}" for number in numbers), ENSEMBLE)}


def _of(name: str, term: str) -> str:
    return f"{name}_{term}" if name else term


class _Saying(nn.Module):
    """Inputs to the logits of one branch, or of all. The step's taps are attached."""

    def __init__(self, step: Branched, name: str) -> None:
        super().__init__()
        self.step, self.name = step, name

    def forward(self, *inputs: Tensor, **named: Tensor) -> Tensor:
        """Inputs [B, ...] to logits [B, K]."""
        return self.step.all_say(named or inputs[0])[self.name]
