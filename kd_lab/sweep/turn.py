"""One round of a member of a population, in whichever process: from the state of the round before to the next."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kd_lab import names
from kd_lab.errors import PrunedError, TrainingFailedError
from kd_lab.job.console import Reporter
from kd_lab.job.keeper import Keeper
from kd_lab.job.order import Context, Order
from kd_lab.sweep.states import TurnTask
from kd_lab.sweep.trial import begun, costs
from kd_lab.training.callbacks.recorder import Sink
from kd_lab.training.states import Part, States
from kd_lab.types import Measurement


class Nowhere:
    """A sink for curves that the state of a training keeps, until its last round has a run to show them in."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """See `Sink`."""

    def flush(self) -> None:
        """See `Sink`."""


def run_turn(
    config: Mapping[str, Any], context: Context, reporter: Reporter, task: TurnTask
) -> tuple[str | None, Measurement]:
    """Train a student from a composed, resolved config for one round, and say what was measured.

    In the last round it has a run, which keeps the whole curves of its network, and the network.

    Raises:
        UserError: something cannot work, such as a state that is not there any more.
        TrainingFailedError: no student can be trained at all.
        PrunedError: its loss stopped being finite: another one takes its place.
    """
    keeper, order = begun(config, context, reporter)
    part = Part(task.until, None if task.before is None else Path(task.before))
    states = States(Path(task.folder), reporter.note, math.inf, part=part)
    if not task.is_last:
        return None, _trained(keeper, order, Nowhere(), states, task)
    with keeper.open(order) as run:
        measured = _trained(keeper, order, run, states, task)
        keeper.save(run, order, measured)
        run.log_measurement({**costs(keeper, order.network), names.COST_TRACKING_S: run.seconds})
    return run.run_id, measured


def _trained(keeper: Keeper, order: Order, sink: Sink, states: States, task: TurnTask) -> Measurement:
    try:
        measured = keeper.trained(order, sink, states=states)
    except TrainingFailedError as error:
        raise PrunedError(f"is replaced: {error}") from error
    finite = all(bool(weights.isfinite().all()) for weights in order.network.parameters())
    if not finite or task.objective not in measured:
        raise PrunedError("is replaced: its last step left weights that are not finite")
    return measured
