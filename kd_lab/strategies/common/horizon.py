"""What a step of a training would do to the validation loss: networks and batches around `ahead`."""

from collections.abc import Callable, Sequence
from typing import Literal

from torch import Tensor
from torch.nn import functional as F

from kd_lab.inputs import eval_mode
from kd_lab.losses.common.checks import positive
from kd_lab.seeds import mixed
from kd_lab.strategies.common.ahead import Weights, ahead
from kd_lab.strategies.common.strategy import Parties, Training
from kd_lab.training.aside import answers, undisturbed
from kd_lab.training.distiller import Distiller
from kd_lab.types import Batch, Feed, Outputs

EXACT_BELOW = 100_000
"""Parameters of a network that is looked ahead of exactly where nobody says how; a larger one by finite differences."""

Exact = Literal["auto"] | bool

BY_A_STEP = "by what a step with them would do to the loss on the validation part"
"""How what is learned by looking ahead is learned, in words."""


class Looking:
    """How a strategy looks ahead: what its settings say of it.

    Args:
        ahead_rate: of the step of SGD that is looked at.
        exact: whether through the step itself, or by finite differences; auto: by the size of the network.
        every: optimizer steps from one look to the next.

    Raises:
        ValueError: a setting is out of range.
    """

    def __init__(self, *, ahead_rate: float, exact: Exact, every: int) -> None:
        if exact not in ("auto", True, False):
            raise ValueError(f"Expected `exact` to be auto, true or false, but got {exact}.")
        if every < 1:
            raise ValueError(f"Expected `every` to be >= 1, but got {every}.")
        self.ahead_rate, self.exact, self.every = positive("ahead_rate", ahead_rate), exact, every

    @staticmethod
    def check(parties: Parties, key: str) -> None:
        """There is a validation part, no loss is moved by being asked twice, and the network runs as it is.

        Raises:
            ValueError: one of these is not so.
        """
        check_validation(parties, key)
        if parties.compiled:
            raise ValueError(
                f"{key}: asks the network with other parameters, and torch.compile has no second derivative; "
                "expected student.recipe.compile=false"
            )
        for name, term in parties.objective.terms.items():
            if term.loss.has_memory:
                raise ValueError(
                    f"{key}: asks a loss several times for a batch, and {name} remembers what it saw; expected a "
                    "loss without a memory, such as loss=kd"
                )


def check_validation(parties: Parties, key: str) -> None:
    """Raise a ValueError that begins with the key if there is no validation part to learn from."""
    if not len(parties.data.validation):
        raise ValueError(
            f"{key}: learns from the validation part, and there is none; expected one, such as dataset.validation=200"
        )


class Horizon:
    """A step ahead of a training.

    Args:
        step: what is trained, by whose network and layers it looks.
        training: with a validation part.
        looking: how.
    """

    def __init__(self, step: Distiller, training: Training, looking: Looking) -> None:
        assert training.validation is not None, "checked before"
        self._step = (step,)  # a module is no part of what looks at it
        self.held_out, self.looking, self.seed = HeldOut(training.validation), looking, training.seed
        size = sum(one.numel() for one in step.network.parameters())
        self.exact = size < EXACT_BELOW if looking.exact == "auto" else bool(looking.exact)
        self._at, self._number, self._due = -1, 0, False

    def at_step(self, step: int) -> None:
        """The next batch is of this step; once in so many a look is due."""
        self._due = step != self._at and step % self.looking.every == 0
        self._at = self._number = step

    def is_due(self) -> bool:
        """Whether to look before this batch; asked again, it is not."""
        due, self._due = self._due, False
        return due

    def gradient(self, loss: Callable[[Outputs], Tensor], batch: Batch, learned: Sequence[Tensor]) -> list[Tensor]:
        """The derivative of the next validation batch's cross-entropy by each of `learned`.

        Args:
            loss: of the training batch, of what the network says of it.
            batch: of the training.
            learned: what `loss` follows from beside that.
        """
        (step,) = self._step
        held_out = self.held_out.at(self._number // self.looking.every)

        def training(weights: Weights) -> Tensor:
            with undisturbed(mixed(self.seed, self._number), batch):
                return loss(answers(step, weights, batch))

        def validation(weights: Weights) -> Tensor:
            with eval_mode(step.network):
                return F.cross_entropy(answers(step, weights, held_out).logits.float(), held_out.targets)

        weights = {name: one for name, one in step.network.named_parameters() if one.requires_grad}
        return ahead(training, validation, weights, learned, self.looking.ahead_rate, exact=self.exact)


class HeldOut:
    """The validation part a batch at a time: which one follows from its number.

    Args:
        feed: its batches.
    """

    def __init__(self, feed: Feed) -> None:
        self.feed = feed
        self._next = -1

    def at(self, number: int) -> Batch:
        """The batch of a number, from 0 to below the steps of the training."""
        if number != self._next:
            self._batches = iter(self.feed.start(number))
        self._next = number + 1
        batch = next(self._batches, None)
        if batch is None:
            self._batches = iter(self.feed)
            batch = next(self._batches)
        return batch

    def __getstate__(self) -> dict[str, object]:
        """Where it stands is no part of a copy: another process begins anew."""
        return {"feed": self.feed, "_next": -1}
