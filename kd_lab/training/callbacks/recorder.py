"""Keeps what training says of itself (each loss term, the learning rate used) and stops a loss that is not finite.

Legend: N batches of a window, S steps of it, T terms.
"""

from collections.abc import Callable, Mapping
from typing import ClassVar, Protocol, cast

import pytorch_lightning as pl
import torch
from torch import Tensor

from kd_lab import names
from kd_lab.errors import TrainingFailedError
from kd_lab.training.module import StepCallback, TrainingModule
from kd_lab.training.state import State
from kd_lab.types import Batch, Mixed, labelled


class Sink(Protocol):
    """Where training metrics go: a run of the tracking store."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Take the values of one optimizer step."""

    def flush(self) -> None:
        """Write what was taken."""


class Recorder(StepCallback):
    """Every `every` steps (and at the end) hands the mean of each term since the last time to the sink.

    It is the mean over the samples that the term is a mean of, of all processes: the hard labels and what else is
    defined on labelled samples over those alone. A window without any has no value of such a term. Between two such
    moments the terms stay on the device, so a GPU is not made to wait. `rename` maps a key to the one it is kept under
    (the members of an ensemble).
    """

    of_process: ClassVar[bool] = True

    def __init__(self, sink: Sink, every: int, rename: Callable[[str], str] = str) -> None:
        self.sink = sink
        self.every = every
        self.rename = rename
        self._window: list[Tensor] = []
        self._targets: list[tuple[Tensor, Mixed | None]] = []
        self._step_of: list[int] = []
        self._steps = 0
        self._teacher: list[Tensor] = []
        self._names: list[str] = []
        self._labelled: list[int] = []

    def after_batch(self, trainer: pl.Trainer, module: TrainingModule, batch: Batch) -> None:
        """Keep this batch's terms; at the end of a window, hand them on."""
        assert module.last_terms is not None
        loss = module.last_terms
        if not self._names:
            self._names = ["total", *loss.terms]
            self._labelled = [i for i, name in enumerate(self._names) if name in loss.labelled]
        self._window.append(torch.stack([loss.total.detach(), *(t.detach() for t in loss.terms.values())]))
        if loss.teacher_top is not None:
            self._teacher.append(loss.teacher_top)
        self._targets.append((batch.targets, batch.mixed))
        self._step_of.append(self._steps)
        self._steps += batch.last
        if self._steps >= self.every:
            self._hand_on(trainer)

    def state_dict(self) -> State:
        """The window that is open."""
        beside = [None if mixed is None else (mixed.targets, float(mixed.share)) for _, mixed in self._targets]
        return {
            "window": self._window,
            "targets": [targets for targets, _ in self._targets],
            "mixed": beside,
            "step_of": self._step_of,
            "steps": self._steps,
            "teacher": self._teacher,
            "names": self._names,
            "labelled": self._labelled,
        }

    def load_state_dict(self, state_dict: State) -> None:
        """Go on in it."""
        beside = [None if mixed is None else Mixed(*mixed) for mixed in state_dict["mixed"]]
        self._targets = list(zip(state_dict["targets"], beside, strict=True))
        self._window, self._teacher = state_dict["window"], state_dict["teacher"]
        self._step_of, self._steps = state_dict["step_of"], state_dict["steps"]
        self._names, self._labelled = state_dict["names"], state_dict["labelled"]

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Hand on what is left; a spawned process takes the sink's buffer with it, so it is written now."""
        if self._window:
            self._hand_on(trainer)
        if trainer.world_size > 1 and trainer.is_global_zero:
            self.sink.flush()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Keep what was measured so far; only finite values are worth keeping."""
        if self._window and all(
            bool(torch.stack(kept).isfinite().all()) for kept in (self._window, self._teacher) if kept
        ):
            self._hand_on(trainer, alone=True)
        if trainer.world_size > 1 and trainer.is_global_zero:
            self.sink.flush()

    def _hand_on(self, trainer: pl.Trainer, *, alone: bool = False) -> None:
        module = cast("TrainingModule", trainer.lightning_module)
        # Alone: after an exception nobody knows whether the other processes still answer.
        together = trainer.world_size > 1 and not alone
        sums, counts = self._summed(module.device if together else torch.device("cpu"))
        if together:
            torch.distributed.all_reduce(sums)
            torch.distributed.all_reduce(counts)
            # The objective rescales each process's total: the mean over the processes is that of the global batch.
            sums[:, 0] *= counts[:, 0] / trainer.world_size
        else:
            sums[:, 0] *= counts[:, 0]
        sums, counts = sums.cpu(), counts.cpu()
        first_step = module.steps_done - self._steps
        self._check_teacher(first_step)
        self._window, self._targets, self._teacher, self._step_of, self._steps = [], [], [], [], 0
        self._check(sums / counts.clamp(min=1), first_step)
        if trainer.is_global_zero:
            found = zip(self._names, sums.sum(0).tolist(), counts.sum(0).tolist(), strict=True)
            values = {self.rename(names.train_loss(n)): value / count for n, value, count in found if count}
            values[self.rename(names.TRAIN_LEARNING_RATE)] = float(trainer.optimizers[0].param_groups[0]["lr"])
            values |= {self.rename(names.train_reading(n)): v for n, v in module.step.readings().items()}
            self.sink.log(module.steps_done, values)

    def _summed(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Of this process: the total as it is and each term summed over its samples, and their number, [S, 1 + T].

        Of several batches of a step the totals are parts of that of the step, by their shares.
        """
        values = torch.stack(self._window).to(device).double()  # a sum of what float32 can just hold is beyond it
        samples = torch.tensor([len(targets) for targets, _ in self._targets]).to(values)
        counts = samples[:, None].repeat(1, values.shape[1])
        if self._labelled:
            known = torch.stack([labelled(*one).sum() for one in self._targets])
            counts[:, self._labelled] = known.to(counts)[:, None]
        sums = values * counts
        sums[:, 0] = values[:, 0]
        steps = self._step_of[-1] + 1
        if steps == len(sums):
            return sums, counts
        of_step = torch.tensor(self._step_of, device=device)
        return sums.new_zeros(steps, sums.shape[1]).index_add(0, of_step, sums), counts.new_zeros(
            steps, counts.shape[1]
        ).index_add(0, of_step, counts)

    def _check_teacher(self, first_step: int) -> None:
        """Stop at the first step whose teacher did not answer with numbers, whether or not a loss shows it."""
        tops = torch.stack(self._teacher).cpu() if self._teacher else torch.zeros(1)
        if bool(tops.isfinite().all()):
            return
        batch = int((~tops.isfinite()).nonzero()[0, 0])
        raise TrainingFailedError(
            f"training stopped at step {first_step + self._step_of[batch] + 1}: the teacher answered with a logit of "
            f"{float(tops[batch])}, so there is nothing to learn from it; train it anew with a lower learning rate "
            "(teacher.recipe.optimizer.lr) or teacher.recipe.precision=32, or choose another teacher"
        )

    def _check(self, window: Tensor, first_step: int) -> None:
        """Stop at the first step whose loss is not finite, and name the term that did it."""
        if bool(window.isfinite().all()):
            return
        step = int((~window.isfinite()).nonzero()[0, 0])
        bad = [name for name, ok in zip(self._names, window[step].isfinite().tolist(), strict=True) if not ok]
        term = bad[1] if len(bad) > 1 else bad[0]  # "total" comes first, and is bad whenever a term is
        value = float(window[step, self._names.index(term)])
        raise TrainingFailedError(
            f"training stopped at step {first_step + step + 1}: the loss term {term!r} became {value}; "
            "try a lower learning rate, gradient clipping (recipe.clip_norm=1) or precision=32"
        )
