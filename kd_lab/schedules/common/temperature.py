"""Where the schedule of a temperature ends: at 1, the probabilities as they are, and not at 0 as of a learning rate."""

import inspect
from collections.abc import Callable
from functools import partial

END = 1.0


def tempered(schedule: Callable[..., float], term: str, base: float) -> Callable[..., float]:
    """The schedule of the temperature of a loss term, with `final` 1 where it has that setting and nobody gave it.

    Raises:
        ValueError: the temperature is not above 1, so that it cannot fall to that.
    """
    setting = inspect.signature(schedule).parameters.get("final")
    if setting is None or setting.default is not None:
        return schedule
    if base <= END:
        raise ValueError(
            f"Expected the temperature of the term `{term}` to be > 1, where its schedule ends unless its `final` says "
            f"otherwise, but got {base}."
        )
    return partial(schedule, final=END)
