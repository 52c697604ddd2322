"""A progress bar for whatever takes longer than two seconds, and nothing otherwise; a line now and then for a log."""

import sys
import time
from typing import cast

import pytorch_lightning as pl
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from kd_lab.outside.console import console
from kd_lab.outside.text import duration
from kd_lab.training.module import StepCallback, TrainingModule
from kd_lab.types import Batch

PATIENCE_S = 2.0
REFRESH_S = 0.1
LINE_S = 30.0
"""How long a log may be silent: what runs jobs may end one that says nothing for minutes."""


class ProgressBar(StepCallback):
    """Shows steps done and time left on standard error once `PATIENCE_S` have passed, if a person is looking."""

    def __init__(self, label: str, total_steps: int) -> None:
        self.label = label
        self.total_steps = total_steps
        self._bar: Progress | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note the time."""
        self._due = time.perf_counter() + PATIENCE_S
        self._wanted = trainer.is_global_zero and sys.stderr.isatty()

    def after_batch(self, trainer: pl.Trainer, module: TrainingModule, batch: Batch) -> None:
        """Show, a few times a second at the most."""
        if not self._wanted:
            return
        now = time.perf_counter()
        if now < self._due:
            return
        self._due = now + REFRESH_S
        if self._bar is None:
            label = TextColumn("{task.description}", markup=False)
            columns = (label, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self._bar = Progress(*columns, console=console(stderr=True), transient=True)
            self._bar.start()
            self._task = self._bar.add_task(self.label, total=self.total_steps, completed=module.steps_done)
        self._bar.update(self._task, completed=module.steps_done)

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take the bar away."""
        self._stop()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Take the bar away here too."""
        self._stop()


class ProgressLines(StepCallback):
    """Prints how far a training is, every `LINE_S`: where nobody could see a bar."""

    def __init__(self, label: str, total_steps: int) -> None:
        self.label = label
        self.total_steps = total_steps

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note the time."""
        self._began = time.perf_counter()
        self._due = self._began + LINE_S
        self._first = cast("TrainingModule", pl_module).steps_done

    def after_batch(self, trainer: pl.Trainer, module: TrainingModule, batch: Batch) -> None:
        """Print, where it is time to."""
        now = time.perf_counter()
        if now < self._due or not trainer.is_global_zero or module.steps_done == self._first:
            return
        self._due = now + LINE_S
        done, epoch = module.steps_done, -(-len(module.feed) // module.recipe.accumulate)
        left = (now - self._began) / (done - self._first) * (self.total_steps - done)
        told = [
            f"{self.label}: step {done:,} of {self.total_steps:,}",
            f"epoch {-(-done // epoch):,} of {-(-self.total_steps // epoch):,}",
            f"about {duration(left)} left",
        ]
        console().print(", ".join(told), soft_wrap=True)
