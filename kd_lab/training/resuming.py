"""How one training goes on where it was interrupted: what is kept of it meanwhile, and what is found of it."""

from collections.abc import Mapping, Sequence

import pytorch_lightning as pl
import torch
from torch import nn

from kd_lab.training.callbacks.checkpoint import Checkpoint
from kd_lab.training.callbacks.cost import Cost
from kd_lab.training.callbacks.recorder import Sink
from kd_lab.training.interrupts import Interrupts, Shared
from kd_lab.training.state import State, Stateful, into_module, into_random
from kd_lab.training.states import States, moment
from kd_lab.types import Measurement


class Curves:
    """A sink that knows what it handed on: a training that goes on gives its new run the whole curves."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._points: list[tuple[int, dict[str, float]]] = []

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """See `Sink`."""
        self._points.append((step, {key: float(value) for key, value in values.items()}))
        self._sink.log(step, values)

    def flush(self) -> None:
        """See `Sink`."""
        self._sink.flush()

    def state_dict(self) -> State:
        """All points so far."""
        return {"points": self._points}

    def load_state_dict(self, state_dict: State) -> None:
        """Hand them on again, each at its own step."""
        for step, values in state_dict["points"]:
            self.log(step, values)


class Resuming:
    """The states of one training, found as it begins and kept while it goes on.

    Args:
        label: what the training is called.
        states: where they lie.
        facts: what a state of this training is known by; all of it must be the same.
        step: what is trained.
        steps: how many optimizer steps there are in all.
        sink: where its curves go; `curves` is given them in its place. What comes in `interrupts` waits for a state.
        beside: what else has a state, by name.
        shared: what the processes that train say to each other, where there are several.
    """

    def __init__(
        self,
        label: str,
        states: States,
        *,
        facts: State,
        step: nn.Module,
        steps: int,
        sink: Sink,
        beside: Mapping[str, Stateful],
        shared: Shared | None = None,
    ) -> None:
        self.curves = Curves(sink)
        self.interrupts = Interrupts(shared)
        self._label, self._states, self._facts, self._step, self._steps = label, states, facts, step, steps
        self._beside = {"curves": self.curves, **beside}
        self._found = states.load(label, facts)

    def finished(self) -> Measurement | None:
        """What a training cost that was at its end already; its weights are in their place then."""
        if self._found is None or (cost := self._found.get("cost")) is None:
            return None
        into_module(self._step, self._found["module"])
        for name, part in self._beside.items():
            part.load_state_dict(self._found["parts"][name])
        into_random(self._found["random"])
        self._states.tell(f"{self._label}: was trained to its end, found in a state of {moment(self._found['when'])}")
        return dict(cost)

    def callback(self, cost: Cost, others: Sequence[pl.Callback]) -> Checkpoint:
        """The callback that follows the others, whose states it keeps too."""
        parts = {**self._beside, **{type(other).__name__: other for other in others}}
        if self._found is not None:
            self._states.tell(
                f"{self._label}: goes on at step {self._found['step']:,} of {self._steps:,}, "
                f"from a state of {moment(self._found['when'])}{_doubt(self._facts)}"
            )
        found, self._found = self._found, None
        return Checkpoint(
            self._label,
            self._states,
            facts=self._facts,
            parts=parts,
            cost=cost,
            interrupts=self.interrupts,
            found=found,
            beside=tuple(self._beside),
        )


def _doubt(facts: State) -> str:
    exact = torch.are_deterministic_algorithms_enabled() and facts["trainer.devices"] <= 2
    if facts["device"] != "cpu" and not exact:
        return "; on a GPU its numbers are not bit for bit those of an uninterrupted training"
    return ""
