"""Annealing: first the teacher's logits, scaled by a factor that rises to 1, then the labels alone.

Source: Jafari et al. 2021 (arXiv:2104.07163): `MSE(z_s, phi(tau) z_t)` with `phi(tau) = 1 - (tau - 1) / tau_max`, tau
falling from tau_max to 1; then the cross-entropy with the labels.
Differs: the mean over the classes; tau falls by one after equal numbers of steps, not of epochs. `centre` is ours,
and the default: without it a student of the demo's ensemble, whose logits are logarithms of probabilities, learns their
level first.
"""

from dataclasses import replace

from kd_lab.losses.mse_logits import MSELogits
from kd_lab.strategies.common.strategy import Strategy, Taught, Training
from kd_lab.training.objective import Objective, Term
from kd_lab.types import Batch, LossTerms, Outputs, Step

ANNEALED = "annealed"
"""The name of the term of the first phase."""


class Annealing(Strategy):
    """Two phases with terms of their own, in the place of the loss's.

    Args:
        max_temperature: tau_max, a whole number from 1 up; at 1 the logits are compared as they are throughout.
        share: of the steps, the first phase's, above 0 up to 1.
        centre: whether the mean over the classes is taken off the logits first: for a teacher whose logits have a level
            of their own, such as an ensemble's log-probabilities.

    Raises:
        ValueError: a number is out of range.
    """

    replaces_loss = True

    def __init__(self, *, max_temperature: int = 10, share: float = 0.75, centre: bool = True) -> None:
        if max_temperature < 1:
            raise ValueError(f"Expected `max_temperature` to be 1 or more, but got {max_temperature}.")
        if not 0 < share <= 1:
            raise ValueError(f"Expected `share` to be in (0, 1], but got {share}.")
        self.max_temperature, self.share, self.centre = max_temperature, share, centre

    def step(self, training: Training) -> Step:
        """Both phases."""
        return Annealed(training, self.max_temperature, self.share, centre=self.centre)

    def described(self, teacher: str, student: str, links: tuple[str, ...]) -> str:
        """With the phases."""
        told = f"{super().described(teacher, student, links)}'s logits for {self.share:.0%} of the steps"
        rest = "" if self.share == 1 else ", then from the labels alone"
        return f"{told}{rest}; the settings of loss=kd have no effect"


class Annealed(Taught):
    """`MSE(z_s, phi(tau) z_t)` for a share of the steps, `CE(y, z_s)` for the rest."""

    def __init__(self, training: Training, max_temperature: int, share: float, *, centre: bool) -> None:
        own = training.objective
        terms = {ANNEALED: Term(MSELogits(centre=centre))}
        objective = Objective(terms, 1.0, own.label_smoothing, class_weights=own.class_weights)
        super().__init__(replace(training, objective=objective, taps=()))
        self.max_temperature, self.share = max_temperature, share
        self.temperature = float(max_temperature)

    @property
    def factor(self) -> float:
        """phi, of the teacher's logits, 1 / tau_max up to 1."""
        return 1 - (self.temperature - 1) / self.max_temperature

    def at_step(self, step: int, total_steps: int) -> None:
        """Set the temperature, and which of the two terms counts."""
        first = max(round(self.share * total_steps), 1)
        self.temperature = float(max(self.max_temperature - step * self.max_temperature // first, 1))
        in_first = step < first
        self.objective.weights[ANNEALED] = float(in_first)
        self.objective.hard_weight = float(not in_first)

    def forward(self, batch: Batch) -> LossTerms:
        """Both terms, one of them with weight 0."""
        assert self.teacher is not None, "it is one that teaches"
        taught = self.teacher(batch)
        scaled = Outputs(self.factor * taught.logits)
        terms: LossTerms = self.objective(self.answers(batch), scaled, batch)
        return replace(terms, teacher_top=taught.logits.max())

    def readings(self) -> dict[str, float]:
        """tau and phi."""
        return {f"{ANNEALED}_temperature": self.temperature, f"{ANNEALED}_factor": self.factor}
