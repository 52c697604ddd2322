"""TinyBERT: attention scores and states, block by block.

Matches, of each pair of blocks, the scores by which every token attends to every other, before the softmax, head by
head; and the states, through a linear layer of each block's own. Source: Jiao et al. 2020 (arXiv:1909.10351), equations
7 and 8, summed over the blocks as in equation 6.

Helps transformers that are distilled on much text first, and then on a task with augmented examples; on few texts alone
the states pull hard. Costs heads x L^2 products and a linear layer for each block. Defaults: blocks evenly spaced, the
last included, weight 1, hard labels 1.

Differs: no term of the embeddings (equation 9), which the first block's states stand for. Both networks need as many
heads, as in the paper. Padding neither asks nor is asked; each mean is over the tokens (pairs of them) of a text, then
over the texts.

Legend: B batch, C channels, H heads, D channels of a head, L positions.
"""

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from kd_lab.losses.common.checks import same_number
from kd_lab.losses.common.loss import Layers, Loss
from kd_lab.losses.common.tokens import check_tokens, counted, mean_over
from kd_lab.types import Batch, Outputs, Shape

PARTS = 3
"""Of each block: queries, keys, states."""


class TinyBERT(Loss):
    """`sum_blocks mean_{b, h, l, l'} (A_s - A_t)^2 + mean_{b, l, c} (W s - t)^2`, A = Q K^T / sqrt(D) [B, H, L, L].

    Args:
        student_shapes: of queries, keys and states of each of the student's blocks, sequences.
        teacher_shapes: the teacher's, of the same lengths.
        student_heads: of the student's attention.
        teacher_heads: of the teacher's.

    Raises:
        ValueError: the layers are not three of each block, one is no sequence, or the numbers of heads differ.
    """

    zero_at_equality: ClassVar[bool] = False
    shift_invariant: ClassVar[bool] = True
    symmetric: ClassVar[bool] = False
    layers: ClassVar[Layers | None] = "transformer"
    maps: ClassVar[bool] = True
    tokens: ClassVar[bool] = True

    def __init__(
        self,
        *,
        student_shapes: tuple[Shape, ...],
        teacher_shapes: tuple[Shape, ...],
        student_heads: int,
        teacher_heads: int,
    ) -> None:
        super().__init__()
        same_number(student_shapes, teacher_shapes)
        check_tokens(student_shapes, teacher_shapes)
        if len(student_shapes) % PARTS:
            raise ValueError(
                f"Expected {PARTS} layers of each block, queries, keys and states, but got {len(student_shapes)}."
            )
        if student_heads != teacher_heads:
            raise ValueError(
                f"Expected as many attention heads of the student as of the teacher, but got {student_heads} and "
                f"{teacher_heads}: choose networks alike in that, or minilm, which needs none."
            )
        self.heads = student_heads
        states = zip(student_shapes[2::PARTS], teacher_shapes[2::PARTS], strict=True)
        self.projectors = nn.ModuleList(
            nn.Conv1d(own[0], theirs[0], kernel_size=1, bias=False) for own, theirs in states
        )

    def compute(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """Every sample counts, labelled or not."""
        losses = []
        for block, project in enumerate(self.projectors):
            query_s, key_s, own = student.features[PARTS * block : PARTS * (block + 1)]
            query_t, key_t, theirs = teacher.features[PARTS * block : PARTS * (block + 1)]
            counted_BL = counted(batch, own)
            apart_BHLL = self._scores(query_s, key_s) - self._scores(query_t, key_t)
            pairs_BLL = counted_BL[:, :, None] * counted_BL[:, None, :]
            losses.append(mean_over(apart_BHLL.square().mean(1).flatten(1), pairs_BLL.flatten(1)))
            losses.append(mean_over((project(own) - theirs).square().mean(1), counted_BL))
        return torch.stack(losses).sum()

    def _scores(self, query_BCL: Tensor, key_BCL: Tensor) -> Tensor:
        """Before the softmax, [B, H, L, L]."""
        batch, _, length = query_BCL.shape
        query_BHDL, key_BHDL = (one.reshape(batch, self.heads, -1, length) for one in (query_BCL, key_BCL))
        scores_BHLL: Tensor = query_BHDL.mT @ key_BHDL / math.sqrt(query_BHDL.shape[2])
        return scores_BHLL

    def extra_repr(self) -> str:
        """The settings, for `print(module)`."""
        return f"heads={self.heads}"
