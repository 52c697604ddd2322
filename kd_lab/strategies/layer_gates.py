"""Gates over all pairs of layers, learned one step ahead on the validation part: what to learn from where.

Source: Jang et al. 2019 (L2T-ww, arXiv:1905.05901), section 2: which layers of the teacher are worth learning from, and
by which of the student's, is learned by whether a step of the training with these weights lowers the loss of other
data. A gate is one number for each pair, K softmax(v) over the K pairs, whose mean is 1: with an equal part of the
loss's weight to each pair, a gate of K at one of them is the loss of that pair alone, as if it had been named.

Differs: the authors have a network say the weights of pairs and channels of each sample, and look further ahead, on
training data; here a number stands for each pair, and one step of SGD is judged by the validation part, as in
`kd_lab.strategies.look_ahead`. Each pair has a projector of its own, so memory grows with their number.
"""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from kd_lab import names
from kd_lab.analysis.figures.gates import gate_map
from kd_lab.losses.common.checks import positive
from kd_lab.strategies.common.horizon import BY_A_STEP, Exact, Looking
from kd_lab.strategies.common.strategy import Parties, Strategy, Training
from kd_lab.strategies.common.weighted import Factors
from kd_lab.strategies.look_ahead import Ahead
from kd_lab.training.objective import Objective
from kd_lab.types import Step


class LayerGates(Strategy):
    """Each pair of layers has a gate, moved against `d L_val(theta - rate * grad L(theta, gates)) / d gates`.

    Every other term keeps its weight.

    Args:
        learning_rate: of Adam, which moves the gates.
        ahead_rate, exact, every: see `Looking`.

    Raises:
        ValueError: a setting is out of range.
    """

    every_pair = True

    def __init__(
        self, *, learning_rate: float = 0.01, ahead_rate: float = 0.1, exact: Exact = "auto", every: int = 1
    ) -> None:
        self.looking = Looking(ahead_rate=ahead_rate, exact=exact, every=every)
        self.learning_rate = positive("learning_rate", learning_rate)

    def check(self, parties: Parties) -> None:
        """One loss of layers compares two pairs or more, and there is a validation part.

        Raises:
            ValueError: one of these is not so.
        """
        found = gated(parties.objective)
        if not found:
            raise ValueError(
                "has a gate for each pair of layers, and no loss of a weight above 0 compares layers; expected one, "
                "such as loss=fitnet or loss=[kd,fitnet]"
            )
        if len(kinds := {type(parties.objective.terms[name].loss).__name__ for name in found}) > 1:
            raise ValueError(f"gates the pairs of one loss, and {' and '.join(sorted(kinds))} compare layers")
        if len(found) < 2:
            raise ValueError(
                "has nothing to choose from: there is one pair of layers alone; expected a student or a teacher of "
                "several stages, such as student=cnn, or several named ones (student.layers=[...] teacher.layers=[...])"
            )
        self.looking.check(parties, f"ahead_rate={self.looking.ahead_rate:g}")

    def learns(self) -> str:
        """Gates."""
        return f"a gate for each pair of layers (s1_t2: the student's first, the teacher's second), {BY_A_STEP}"

    def step(self, training: Training) -> Step:
        """As plain distillation, with a look ahead before each step."""
        return Gated(training, self.looking, self.learning_rate)


def gated(objective: Objective) -> tuple[str, ...]:
    """The terms that compare layers, which are a pair each."""
    return tuple(name for name, term in objective.terms.items() if term.student_slots and objective.weights[name] > 0)


class Gated(Ahead):
    """The step of `LayerGates`."""

    def __init__(self, training: Training, looking: Looking, learning_rate: float) -> None:
        moved = gated(training.objective)
        super().__init__(training, looking, (), learning_rate=learning_rate, all_terms=False, moved=moved)
        pairs = {name: training.pairs[name][0] for name in moved}
        self._layers = {name: (pair.student.name, pair.teacher.name) for name, pair in pairs.items()}

    def factors_of(self, values: Tensor) -> Factors:
        """K softmax(v) of the pairs, 1 of all else."""
        return {**dict.fromkeys(self.weighed, 1.0), **super().factors_of(values)}

    def readings(self) -> dict[str, float]:
        """The gates: `fitnet_s1_t2_gate`."""
        gates = super().factors_of(self.learned.values.detach())
        return self.objective.readings() | {f"{name}_gate": float(gate) for name, gate in gates.items()}

    def figures(self) -> Mapping[str, Figure]:
        """The gates as they were at the end."""
        own, theirs = (list(dict.fromkeys(layers)) for layers in zip(*self._layers.values(), strict=True))
        found = np.full((len(own), len(theirs)), np.nan)
        for name, gate in super().factors_of(self.learned.values.detach()).items():
            one, other = self._layers[name]
            found[own.index(one), theirs.index(other)] = float(gate)
        return {names.ARTIFACT_GATES: gate_map(found, own, theirs, "gates at the end, learned on the validation part")}
