"""`sweep.search`: what is searched, and how. Names are Optuna's where it has one."""

import json
from itertools import count
from typing import Annotated, Literal

from pydantic import Field, model_validator

from kd_lab.errors import UserError
from kd_lab.job.strict import Strict

ON_VALIDATION = ("val/accuracy_top1", "val/nll_nats")
TIMED = ("cost/latency_ms_p50",)
Metric = Literal[
    "val/accuracy_top1",
    "val/nll_nats",
    "cost/params_total",
    "cost/macs",
    "cost/weights_bytes",
    "cost/latency_ms_p50",
]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Choice = str | bool | int | float | list[int | float | str] | None


class Dimension(Strict):
    """One value that is searched for: a range, or choices."""

    low: int | Finite | None = None
    high: int | Finite | None = None
    step: int | Finite | None = None
    log: bool = False
    choices: list[Choice] | None = None

    @model_validator(mode="after")
    def _is_one_of_both(self) -> "Dimension":
        if self.choices is not None:
            if not self.choices or (self.low, self.high, self.step, self.log) != (None, None, None, False):
                raise ValueError("expected choices: [...], with at least one and nothing beside them")
            return self
        if self.low is None or self.high is None:
            raise ValueError("expected low and high, or choices")
        if self.low > self.high:
            raise ValueError(f"expected low to be at most high, but {self.low} is more than {self.high}")
        if self.log and (self.low <= 0 or self.step is not None):
            raise ValueError("log: expected low to be above 0, and no step")
        if self.step is not None and self.step <= 0:
            raise ValueError(f"step={self.step}: expected more than 0")
        return self

    @property
    def whole(self) -> bool:
        """Whether only whole numbers are tried."""
        return all(isinstance(end, int) for end in (self.low, self.high, self.step or 1))


class PopulationSettings(Strict):
    """`sweep.search.pbt`: population-based training (Jaderberg et al. 2017, arXiv:1711.09846).

    population: how many are trained side by side. rounds: into so many parts their training is cut. truncation: the
    share of the worst, each of which goes on after a round with the network of one of as many best. perturb: by one of
    these each of its values is multiplied then.
    """

    population: Annotated[int, Field(ge=2)] = 8
    rounds: Annotated[int, Field(ge=2)] = 10
    truncation: Annotated[float, Field(gt=0, le=0.5)] = 0.2
    perturb: Annotated[list[Annotated[float, Field(gt=0, allow_inf_nan=False)]], Field(min_length=1)] = Field(
        default=[0.8, 1.2]
    )


OF_OPTUNA = ("trials", "sampler", "prune", "timeout")


class SearchSettings(Strict):
    """`sweep.search`; a population, or trials of Optuna's where there is none."""

    trials: Annotated[int, Field(gt=0)] = 30
    seed: Seed = 0
    objectives: Annotated[list[Metric], Field(min_length=1)] = Field(default=["val/accuracy_top1"])
    sampler: Literal["tpe", "random"] = "tpe"
    prune: bool = True
    final_seeds: Annotated[list[Seed], Field(min_length=1)] = Field(default_factory=lambda: [1, 2, 3, 4, 5])
    timeout: Annotated[float, Field(gt=0)] | None = None
    space: dict[str, Dimension] | None = None
    pbt: PopulationSettings | None = None

    @model_validator(mode="after")
    def _is_on_validation(self) -> "SearchSettings":
        if not set(self.objectives) & set(ON_VALIDATION):
            raise ValueError(f"objectives: expected one of them to be {' or '.join(ON_VALIDATION)}")
        if len(set(self.objectives)) < len(self.objectives) or len(set(self.final_seeds)) < len(self.final_seeds):
            raise ValueError("objectives and final_seeds: expected each one once")
        return self

    @model_validator(mode="after")
    def _is_one_of_both(self) -> "SearchSettings":
        theirs = [key for key in OF_OPTUNA if key in self.model_fields_set]
        if self.pbt is not None and theirs:
            raise ValueError(
                f"{theirs[0]} and pbt: expected settings of Optuna (sweep=optuna) or of a population "
                "(sweep=pbt), not of both"
            )
        if self.pbt is not None and len(self.objectives) > 1:
            raise ValueError(f"objectives: expected a single one for a population, {' or '.join(ON_VALIDATION)}")
        return self

    def check_tuned_seed(self, seed: object) -> None:
        """Refuse to measure what was chosen with the seed that it was chosen for.

        Args:
            seed: the one that all trials are trained with.

        Raises:
            UserError: it is among the final seeds.
        """
        if seed not in self.final_seeds:
            return
        others = [one for one in self.final_seeds if one != seed]
        free = (one for one in count(1) if one not in {*others, seed})
        told, better = (json.dumps(seeds, separators=(",", ":")) for seeds in (self.final_seeds, [*others, next(free)]))
        raise UserError(
            f"sweep.search.final_seeds={told}: the trials are tuned with seed={seed}, so its result would be too good; "
            f"expected other seeds, such as sweep.search.final_seeds={better}, or another seed"
        )

    @property
    def prunes(self) -> bool:
        """Hopeless trials can be told where there is one objective."""
        return self.prune and len(self.objectives) == 1
