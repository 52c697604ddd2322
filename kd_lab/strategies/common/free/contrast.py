"""CMI, contrastive model inversion: a generator for each round, whose samples are to differ from all that were made.

Source: Fang et al. 2021 (arXiv:2105.08584). Beside one_hot, statistics and adversarial (minus KL(teacher || student)
where both say the same class), a sample's two views are to be nearer to each other than to those of other samples, of
this round and of the bank, as a small head on the teacher's features sees them. As in the authors' code: features are
the means over a picture of what the BatchNorm layers are given; no gradient by the global view; a mean over the samples
of the round, and one over those of the bank, which moves the head alone; noise and weights of the generator are moved
together, and drawn anew for each round, without a BatchNorm at its end; the best of a round is kept. Weights as for
CIFAR-10.

Differs: no mirror, a digit or letter would be another; at most 1024 of the bank at a step, by chance, where they have
4096 of 40960; new generators as torch draws them, where theirs are normal of deviation 0.02.

Legend: N samples of a round, M of the bank, F features, D dimensions, K classes, C channels, H height, W width.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kd_lab.augment.crop_flip import CropFlip
from kd_lab.augment.random_resized_crop import RandomResizedCrop
from kd_lab.inputs import call
from kd_lab.seeds import mixed, of_samples
from kd_lab.strategies.common.free.bank import FromBank, Proposal, Round
from kd_lab.strategies.common.free.step import Making
from kd_lab.strategies.common.strategy import Training

TEMPERATURE = 0.1
DIMENSIONS = 128
"""Of what the head makes."""
COMPARED = 1024
"""So many of the bank take part in a step."""
SHIFT = 8
"""The global view is moved by up to 1/8 of the shorter side; 4 of 32 pixels in the paper."""
AREA = (0.25, 1.0)
"""Of the local view, a share of the picture."""


class Contrastive(FromBank):
    """The head is carried from round to round, with its optimizer.

    Args:
        training: with one teacher, which has BatchNorm; samples are pictures.
        making: the settings.
    """

    def __init__(self, training: Training, making: Making) -> None:
        super().__init__(training, making, means=True)
        features = sum(norm.num_features for norm in self.watched.norms)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(mixed(training.seed, 2) >> 1)
            head = nn.Sequential(nn.Linear(features, features), nn.ReLU(), nn.Linear(features, DIMENSIONS))
        self._head = (head,)  # in a tuple: the training's optimizer does not move it
        self._optimizer = torch.optim.Adam(head.parameters(), making.learning_rate)
        self._global = CropFlip(min(self.shape[-2:]) // SHIFT, flip=False)
        self._local = RandomResizedCrop(AREA, flip=False)

    @property
    def head(self) -> nn.Sequential:
        """Features [B, F] to [B, D]."""
        return self._head[0]

    def attach(self, device: torch.device) -> None:
        """Teacher, bank and head come to this device."""
        super().attach(device)
        self.bring(self.head, self._optimizer)

    def begin(self, targets_N: Tensor) -> Round:
        """From a new generator and new noise."""
        generator = self.new_generator(self._step, 4, normalized=False).to(self.device)
        noise = self.drawn(len(targets_N), 2).requires_grad_()
        rate = self.making.learning_rate
        optimizer = torch.optim.Adam([*generator.parameters(), noise], rate, betas=(0.5, 0.999))

        def propose(number: int) -> Proposal:
            inputs = generator(noise)
            globally, locally = self.views(inputs, number)
            logits, statistics, _ = self.watched(globally)
            global_NF = self.watched.means
            self.watched(locally)
            local_NF = self.watched.means
            parts = {
                "one_hot": F.cross_entropy(logits, targets_N),
                "statistics": statistics,
                "adversarial": disagreement(call(self.network, globally), logits),
                "contrast": self._contrast(local_NF, global_NF, number),
            }
            return Proposal(inputs, (local_NF, global_NF), parts)

        return Round((optimizer, self._optimizer), propose)

    def views(self, inputs: Tensor, number: int) -> tuple[Tensor, Tensor]:
        """Pictures [N, C, H, W]: moved a little over a border of zeros, and a part of each brought to full size."""
        rows_N = torch.arange(len(inputs))
        seeds_N = of_samples(mixed(self.seed, self._step, 3, number), rows_N)
        sizes_N2 = torch.tensor(self.shape[-2:]).expand(len(inputs), 2)
        boxes_N4 = self._local.boxes(sizes_N2, of_samples(mixed(1), seeds_N)).to(inputs.device)
        return self._global(inputs, seeds_N.to(inputs.device)), enlarged(inputs, boxes_N4)

    def _contrast(self, local_NF: Tensor, global_NF: Tensor, number: int) -> Tensor:
        kept = self.bank.columns[2:]
        if len(self.bank) > COMPARED:
            rows_M = torch.randperm(len(self.bank), generator=self.random(5, number))[:COMPARED].to(self.device)
            kept = tuple(column[rows_M] for column in kept)
        sides = zip((local_NF, global_NF), kept, strict=True) if kept else ((local_NF,), (global_NF,))
        local, whole = (F.normalize(self.head(torch.cat(side)), dim=1) for side in sides)
        return contrast(local, whole.detach(), len(local_NF))

    def get_extra_state(self) -> dict[str, Any]:
        """The bank's state and the head's."""
        return {
            **super().get_extra_state(),
            "head": self.head.state_dict(),
            "optimizer": self._optimizer.state_dict(),
        }

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """What `get_extra_state` gave."""
        super().set_extra_state(state)
        self.head.load_state_dict(state["head"])
        self._optimizer.load_state_dict(state["optimizer"])


def contrast(local_BD: Tensor, global_BD: Tensor, count: int) -> Tensor:
    """-log of the share that a sample's global view has in exp(cosine / T) over all global views: a mean over the first
    `count` samples, and one over the others, where there are any. Vectors of length 1."""
    scores_BB = local_BD @ global_BD.T / TEMPERATURE
    losses_B = F.cross_entropy(scores_BB, torch.arange(len(scores_BB), device=scores_BB.device), reduction="none")
    new = losses_B[:count].mean()
    return new + losses_B[count:].mean() if len(losses_B) > count else new


def disagreement(student_NK: Tensor, teacher_NK: Tensor) -> Tensor:
    """Minus KL(teacher || student) where both say the same class, 0 elsewhere, a mean over the samples, nats."""
    own, theirs = student_NK.float().log_softmax(dim=1), teacher_NK.float().log_softmax(dim=1)
    agree_N = student_NK.argmax(dim=1) == teacher_NK.argmax(dim=1)
    return -(F.kl_div(own, theirs, log_target=True, reduction="none").sum(dim=1) * agree_N).mean()


def enlarged(pictures: Tensor, boxes_N4: Tensor) -> Tensor:
    """Boxes (top, left, height, width) of pictures [N, C, H, W], brought to their full size, bilinear."""
    (top_N, left_N, height_N, width_N), sides = boxes_N4.to(pictures.dtype).unbind(1), pictures.shape[-2:]
    rows = _weights(top_N, height_N, sides[0])
    columns = _weights(left_N, width_N, sides[1])
    return torch.einsum("nih,nchw,njw->ncij", rows, pictures, columns)


def _weights(start_N: Tensor, length_N: Tensor, side: int) -> Tensor:
    """What each of `side` new pixels takes of each old one, [N, side, side]."""
    pixels = torch.arange(side, dtype=start_N.dtype, device=start_N.device)
    within = (pixels + 0.5) * (length_N / side)[:, None] - 0.5
    places = start_N[:, None] + within.clamp(min=0).minimum(length_N[:, None] - 1)
    return (1 - (places[:, :, None] - pixels).abs()).clamp(min=0)
