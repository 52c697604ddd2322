"""Quantization-aware distillation: the student is taught as int8 computes it, by the same loss, and measured so.

Its weights and the inputs of its linear layers and convolutions are rounded in every forward pass of the training, so
that what it learns survives the rounding. What is kept is an ordinary network in float32, with the ranges of its
activations. The control is plain distillation that is rounded afterwards: `strategy=none measure.int8=true`.

Source: Jacob et al. 2018 (arXiv:1712.05877), section 3, for rounding while training; Mishra and Marr 2018 (Apprentice,
arXiv:1711.05852) for a trained teacher in full precision beside it.
Differs: all is rounded from the first step on, where Jacob et al. let activations wait and fold BatchNorm first (see
`kd_lab.insight.int8`). Kim et al. 2019 (QKD, arXiv:1911.12491) let the student begin without a teacher, and train that
for the student, in phases that are not here.
"""

from collections.abc import Mapping

from torch import Tensor, nn

from kd_lab.inputs import Inputs
from kd_lab.insight.int8 import InInt8, Int8, layers
from kd_lab.strategies.common.strategy import Parties, Strategy, Taught, Training
from kd_lab.types import Step

INT8 = "int8"
"""What the student in int8 is called beside itself, in curves of the validation part."""


class Quantized(Strategy):
    """The student is rounded to int8 while it is taught.

    Args:
        observe_until: the share of the student's steps in which the ranges of its activations follow what is seen,
            above 0 up to 1; they stay as they are after it.
        rate: how fast they follow, as a moving average of the least and the largest value of a batch, above 0 up to 1;
            slower ones lag behind in short trainings.

    Raises:
        ValueError: a number is out of range.
    """

    needs_loss = False
    measures_int8 = True

    def __init__(self, *, observe_until: float = 0.75, rate: float = 0.1) -> None:
        for name, share in {"observe_until": observe_until, "rate": rate}.items():
            if not 0 < share <= 1:
                raise ValueError(f"Expected `{name}` to be in (0, 1], but got {share}.")
        self.observe_until, self.rate = observe_until, rate

    def check(self, parties: Parties) -> None:
        """There is something to round, in a network that runs as it is.

        Raises:
            ValueError: the student has neither linear layers nor convolutions, or is compiled.
        """
        if not layers(parties.student):
            raise ValueError(
                "the student has no linear layer and no convolution, so nothing of it can be rounded to int8; expected "
                "another one, such as student=mlp"
            )
        if parties.compiled:
            raise ValueError(
                "the student is asked with other weights than its own, which torch.compile does not see; expected "
                "student.recipe.compile=false"
            )

    def step(self, training: Training) -> Step:
        """As plain distillation, in int8."""
        return Rounded(training, self)

    def described(self, teacher: str, student: str, links: tuple[str, ...]) -> str:
        """With how it is taught."""
        return f"{super().described(teacher, student, links)}, its weights and activations rounded to int8"


class Rounded(Taught):
    """Distils a student that answers in int8; the ranges of its activations are part of the state.

    What looks beside the training (`measure.gradients`) sees the student as it is, not rounded.
    With `recipe.ema` the average is kept, and measured in int8 with the ranges that the trained weights saw; the curve
    of the student in int8 is that of the trained weights.

    Args:
        training: with one teacher or none.
        settings: the strategy.
    """

    def __init__(self, training: Training, settings: Quantized) -> None:
        super().__init__(training)
        self.settings, self._int8, self._observes = settings, Int8(training.network), True
        self.ranges: Tensor
        self.register_buffer("ranges", self._int8.unknown())

    def at_step(self, step: int, total_steps: int) -> None:
        """Set what is scheduled; whether the ranges still follow."""
        super().at_step(step, total_steps)
        self._observes = step < max(round(self.settings.observe_until * total_steps), 1)

    def said(self, inputs: Inputs) -> Tensor:
        """The logits [B, K] in int8."""
        logits: Tensor = self._int8.said(inputs, self.ranges, self.settings.rate if self._observes else None)
        return logits

    def activation_ranges(self) -> Tensor:
        """The least and the largest input of each layer [L, 2] so far."""
        return self.ranges

    def followed(self) -> Mapping[str, nn.Module]:
        """The student in int8."""
        return {INT8: InInt8(self.network, self.ranges)}
