"""The LightningModule that trains every network of kd-lab: a teacher, a student alone, a distilled student.

One optimizer step is one `training_step`. The optimization is manual, with the bare torch optimizer: Lightning's
automatic path costs about as much per step as a small network itself (experiments/speed has the numbers).
"""

import os
from collections.abc import Iterable, Sequence
from typing import cast

import pytorch_lightning as pl
import torch
import torch.distributed
from torch import Tensor, nn

from kd_lab.feeds.memory import Batches
from kd_lab.insight.taps import Tap, Taps
from kd_lab.teachers.frozen import FrozenTeacher
from kd_lab.training.objective import Objective
from kd_lab.training.recipe import Recipe
from kd_lab.types import UNLABELLED, Batch, LossTerms, Outputs


class Distiller(pl.LightningModule):
    """Trains `network` on `batches` for the objective; with a teacher, against the teacher's outputs too.

    The frozen teacher is in eval mode, gets no gradient and is neither among the parameters nor in a checkpoint.
    Under DDP the objective is that of one process with the whole batch: local means are rescaled to global ones.
    """

    def __init__(
        self,
        network: nn.Module,
        objective: Objective,
        recipe: Recipe,
        batches: Batches,
        *,
        teacher: FrozenTeacher | None = None,
        taps: Sequence[Tap] = (),
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.network = network
        self.objective = objective
        self.recipe = recipe
        self.batches = batches
        self.frozen_teacher = teacher
        self.taps = Taps(network, taps)
        self.last_terms: LossTerms | None = None
        self.teacher_top: Tensor | None = None
        """The largest logit of the teacher's last answer, a scalar: not finite where one is NaN or infinite. A class
        that is masked with -inf is none of that."""
        self._ddp_params_and_buffers_to_ignore = self._memories()

    def _memories(self) -> list[str]:
        """What DDP must not send at every step: memories of losses, which are the same on all ranks by themselves."""
        kept = [name for name, term in self.objective.terms.items() if term.loss.has_memory]
        return [
            f"objective.losses.{name}.{key}"
            for name in kept
            for key, _ in self.objective.terms[name].loss.named_buffers()
        ]

    def on_fit_start(self) -> None:
        """Bring the teacher to this device, Lightning does not know it; begin to listen to the layers."""
        if self.device.type == "cpu":
            # Lightning sets this to "1", and Adam then looks for the CUDA driver at every step: 55 us, against 1 us.
            os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "0"
        if self.frozen_teacher is not None:
            self.frozen_teacher.to(self.device).taps.attach()
        self.taps.attach()
        self._parameters_to_clip = [p for p in self.parameters() if p.requires_grad]

    def stop_listening(self) -> None:
        """Take the hooks off both networks again."""
        self.taps.remove()
        if self.frozen_teacher is not None:
            self.frozen_teacher.taps.remove()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """One optimizer over the network and every trainable part of the objective."""
        return self.recipe.build_optimizer([p for p in self.parameters() if p.requires_grad])

    def train_dataloader(self) -> Iterable[Batch]:
        """This process's share of every batch, on this device."""
        return self.batches.to(self.device).shard(self.global_rank, self.trainer.world_size)

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """The batches are there already."""
        return batch

    def on_train_start(self) -> None:
        """Take the bare optimizer, and the gradient scaler where there is one (16-mixed), out of Lightning once."""
        self._scaler: torch.amp.GradScaler | None = getattr(self.trainer.precision_plugin, "scaler", None)
        self._plain = self.trainer.world_size == 1 and self._scaler is None
        self._optimizer = cast("torch.optim.Optimizer", self.optimizers(use_pl_optimizer=False))

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """One optimizer step: hard-label cross-entropy and soft terms, each by name in `last_terms`."""
        teacher = self.frozen_teacher(batch.inputs, batch.strong) if self.frozen_teacher is not None else None
        self.teacher_top = None if teacher is None else teacher.logits.max()
        student = self._answers(batch)
        if self.trainer.world_size > 1:
            hard, soft = self._global_scales(batch)
            loss = self.objective(student, teacher, batch, hard_scale=hard, soft_scale=soft)
        else:
            loss = self.objective(student, teacher, batch)
        self._optimizer.zero_grad()
        if self._plain:
            loss.total.backward()
        else:
            self.manual_backward(loss.total)
        if self.recipe.clip_norm is not None:
            self._clip(self.recipe.clip_norm)
        self._step()
        self.last_terms = loss

    def _answers(self, batch: Batch) -> Outputs:
        """What the student says: logits, the features of the first view, logits of the second where there is one."""
        logits = self.network(batch.inputs)
        features = self.taps.take()
        return Outputs(logits, features, None if batch.strong is None else self.network(batch.strong))

    def _clip(self, norm: float) -> None:
        if self._scaler is not None:
            self._scaler.unscale_(self._optimizer)
        nn.utils.clip_grad_norm_(self._parameters_to_clip, norm)

    def _step(self) -> None:
        if self._scaler is None:
            self._optimizer.step()
            return
        # Not through Lightning's plugin: it unscales again what was unscaled to be clipped, which torch refuses.
        self._scaler.step(self._optimizer)
        self._scaler.update()

    def _global_scales(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """What turns this process's means into its share of the means over the global batch.

        DDP averages gradients over processes, so a mean over the global batch is the average of
        `local mean * local count * world size / global count`; hard labels count labelled points only.
        """
        labelled = (batch.targets != UNLABELLED).sum()
        local = torch.stack([labelled, torch.full_like(labelled, batch.targets.shape[0])]).to(torch.float32)
        everywhere = local.clone()
        torch.distributed.all_reduce(everywhere)
        scales = local * self.trainer.world_size / everywhere.clamp(min=1)
        return scales[0], scales[1]
