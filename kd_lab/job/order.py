"""What a job asks its keeper for, and what it gets."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from kd_lab.job.specs import NetworkSpec
from kd_lab.store.run import Run
from kd_lab.training.callbacks.validation import EpochReport
from kd_lab.types import Measurement, NetworkResult


@dataclass(frozen=True)
class Context:
    """What a job knows of the command it belongs to: its sweep (id and title) and what is special about the job.

    jobs_at_once: how many jobs of the sweep share this machine; what is timed then is not what a job alone would take.
    tried: from how many configurations this one was chosen on the validation part, if it was.
    """

    sweep: str | None = None
    sweep_title: str = ""
    label: str = ""
    jobs_at_once: int = 1
    tried: int | None = None


@dataclass(frozen=True)
class Order:
    """A network that a job needs.

    spec: what it is. network: built for it, with the weights of its seed; it gets those that were found or trained.
    reuse: whether a stored one will do. extra: what else follows from measurement and logits; done: called with the
    run, while it is open, and the result. measured: whether a network found again is measured; a trial, which reads no
    test part, trusts the hash of its weights. saved: called when its weights are kept.
    """

    spec: NetworkSpec
    network: nn.Module
    reuse: bool = True
    measured: bool = True
    teacher_logits: Tensor | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, object] = field(default_factory=dict)
    extra: Callable[[Measurement, Tensor], Measurement] = lambda _measurement, _logits: {}
    done: Callable[[Run, NetworkResult], None] = lambda _run, _result: None
    saved: Callable[[], None] = lambda: None
    report: EpochReport | None = None

    @property
    def role(self) -> str:
        """Of the network."""
        return self.spec.role


@dataclass(frozen=True)
class Obtained:
    """A network in hand: trained, measured, and kept in the store."""

    network: nn.Module
    result: NetworkResult
    logits: Tensor
