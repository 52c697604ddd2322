"""CRD: contrastive representation distillation, to know the same sample in the other network among thousands.

Matches which samples are close: each network's vector of a sample, projected to 128 numbers, must fit what the other
network said of the same sample, and not what it said of samples of other classes. What they said is remembered in two
memories, a row for every sample of the dataset. Source: Tian et al. 2020 (ICLR, arXiv:1910.10699), equation 18 in the
count of the authors' code, both directions, negatives of other classes ("exact" there).

Helps more than KD on each of the thirteen pairs of the paper on CIFAR-100, such as 75.51 against 73.33 (resnet32x4 to
resnet8x4); on ImageNet (ResNet-34 to ResNet-18) 71.17, of which torchdistill found 70.93 again, less than its own KD
(71.37). Costs two memories [N, 128], two products of the batch with each of them a step, and an index with every
sample. Defaults: 128 numbers, 16384 negatives, T = 0.07, momentum 0.5, weight 0.8, hard labels 1.

Differs: a sample without a label has all others as negatives, and is one of everybody else. Negatives that are drawn
without repetition come from K equal parts of a sample's others, which are as probable each, but cover the classes more
evenly. Rows that the student never trains on are no negatives. Of a sample that is in a batch twice, the last one is
remembered, in the order of the processes. The sum over the negatives is computed from the scores of all N rows, as
often as each was drawn: that is less work than to copy 16384 rows for each sample.

Under DDP all processes have the same memories, the same Z and the same negatives for the same sample, as one process
with the whole batch would, with and without `gather`; it only says whether the value is a mean over the whole batch or
over this process's part, which the training then weighs by its size: the gradient is the same.

Legend: B samples of this process, G of all, K negatives, N rows of the dataset, R that the student trains on, D
dimensions.
"""

import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kd_lab.losses.common.checks import one_pair, positive, within
from kd_lab.losses.common.contrast import Memories, Pair
from kd_lab.losses.common.gather import gathered, standing
from kd_lab.losses.common.loss import Layers, Loss
from kd_lab.losses.common.negatives import Negatives
from kd_lab.types import Batch, Outputs, Shape


class CRD(Loss):
    """`mean_b` of `-log P / (P + K/R + 1e-7) - sum_negatives log (K/R) / (P + K/R + 1e-7)`, for both networks.

    `P = exp(<v, m> / T) / Z`: v is a vector of this network, of length 1, and m a row of the other's memory. Z is R
    times the mean of exp over the first batch, for each network. Afterwards `m <- momentum m + (1 - momentum) v`,
    brought to length 1.

    Args:
        dim: D, of the vectors that are compared.
        negatives: K, drawn for each sample at every step.
        temperature: T, without unit.
        momentum: how much of the old row stays in the memory.
        gather: under DDP, give the mean over the samples of all processes.
        student_shapes: of the student's layer, any.
        teacher_shapes: of the teacher's layer, any.
        targets: [N] int64, the labels of the dataset.
        transfer: [R] int64, the rows that the student trains on; None: all.

    Raises:
        ValueError: a setting is out of range, there is more than one pair, or all samples are of one class.
    """

    zero_at_equality: ClassVar[bool] = False
    shift_invariant: ClassVar[bool] = True
    symmetric: ClassVar[bool] = False
    batch_relational: ClassVar[bool] = True
    has_memory: ClassVar[bool] = True
    layers: ClassVar[Layers | None] = "embedding"

    def __init__(
        self,
        *,
        student_shapes: tuple[Shape, ...],
        teacher_shapes: tuple[Shape, ...],
        targets: Tensor,
        transfer: Tensor | None = None,
        dim: int = 128,
        negatives: int = 16384,
        temperature: float = 0.07,
        momentum: float = 0.5,
        gather: bool = False,
    ) -> None:
        super().__init__()
        own, theirs = one_pair(student_shapes, teacher_shapes)
        self.dim, self.negatives = _at_least_one("dim", dim), _at_least_one("negatives", negatives)
        self.temperature = positive("temperature", temperature)
        self.momentum = within("momentum", momentum, 0, 1)
        self.gather = gather
        self.student_embed = nn.Linear(math.prod(own), dim)
        self.teacher_embed = nn.Linear(math.prod(theirs), dim)
        self.memories = Memories(len(targets), dim)
        self.others = Negatives(targets, transfer, negatives)

    def compute(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """Every sample counts, labelled or not; the memories are updated."""
        own_BD = F.normalize(self.student_embed(student.features[0].flatten(1)), dim=1)
        theirs_BD = F.normalize(self.teacher_embed(teacher.features[0].flatten(1)), dim=1)
        scaled = own_BD / self.temperature, theirs_BD / self.temperature
        with torch.no_grad():
            values_B, slopes = self._told_apart(scaled, (own_BD, theirs_BD), batch.index)
        # The derivative is known, so the graph need not keep B x N scores: what is added is 0 with that derivative.
        for vectors_BD, slope_BD in zip(scaled, slopes, strict=True):
            values_B = values_B + ((vectors_BD - vectors_BD.detach()) * slope_BD).sum(dim=1)
        return (gathered(values_B) if self.gather else values_B).mean()

    def _told_apart(self, scaled: Pair, vectors: Pair, index_B: Tensor) -> tuple[Tensor, Pair]:
        """The loss of each sample and its derivatives, against what was known before this batch."""
        index_G = gathered(index_B)
        first, numbers = self.others.step == 0, self.others.numbers(len(index_G))[standing(index_B)[0]]
        if first:
            self.memories.fix_z(scaled, index_B, self.others, numbers)
        found = self.memories.told_apart(scaled, index_B, self.others, numbers)
        own_GD, theirs_GD = gathered(torch.cat(vectors, dim=1)).chunk(2, dim=1)
        self.memories.remember((own_GD, theirs_GD), index_G, self.momentum)
        return found

    def extra_repr(self) -> str:
        """The settings, for `print(module)`."""
        return f"negatives={self.negatives}, temperature={self.temperature}, momentum={self.momentum}"


def _at_least_one(name: str, value: int) -> int:
    if value < 1 or value != int(value):
        raise ValueError(f"Expected `{name}` to be a whole number >= 1, but got {value}.")
    return int(value)
