"""MiniLM: what the last attention relates, queries with queries, keys with keys, values with values.

Matches, for each position, the softmax over all positions of the scaled products of the queries, of the keys, and of
the values; each cut into so many relation heads, whatever the heads of the networks. Source: Wang et al. 2021
(MiniLMv2, arXiv:2012.15828), equations 5 to 7, with the three relations weighed alike.

Helps small transformers of any width and depth, made for general training, before a task. No parameters; costs three
times heads x L^2 products in each network. Defaults: the last layer of both (the authors take one before the last of
large teachers), weight 1, hard labels 1.

Differs: as many heads as divide both widths and leave each at least 8 numbers, at most 48, the authors' for teachers of
width 768. Padding neither asks nor is asked; the mean is over the tokens of a text, then over the texts.

Legend: B batch, A relation heads, C channels, D channels of a head, L positions.
"""

import math
from typing import ClassVar

import torch
from torch import Tensor

from kd_lab.losses.common.checks import with_several_positions
from kd_lab.losses.common.loss import Layers, Loss
from kd_lab.losses.common.tokens import check_tokens, counted, mean_over
from kd_lab.types import Batch, Outputs, Shape

MOST_HEADS, LEAST_CHANNELS = 48, 8


class MiniLM(Loss):
    """`mean over relations, heads, tokens of KL(softmax(R_t) || softmax(R_s))`, R = X X^T / sqrt(D) [B, A, L, L].

    Args:
        student_shapes: of the student's queries, keys and values, sequences.
        teacher_shapes: the teacher's, of the same lengths.
        heads: A; None: see above.

    Raises:
        ValueError: a layer is no sequence of several positions, those of a pair have not one length, or `heads` does
            not divide a width.
    """

    zero_at_equality: ClassVar[bool] = True
    shift_invariant: ClassVar[bool] = True
    symmetric: ClassVar[bool] = False
    layers: ClassVar[Layers | None] = "attention"
    maps: ClassVar[bool] = True
    places: ClassVar[bool] = True
    tokens: ClassVar[bool] = True

    def __init__(
        self, *, student_shapes: tuple[Shape, ...], teacher_shapes: tuple[Shape, ...], heads: int | None = None
    ) -> None:
        super().__init__()
        with_several_positions(student_shapes, teacher_shapes)
        check_tokens(student_shapes, teacher_shapes)
        widths = [shape[0] for shape in (*student_shapes, *teacher_shapes)]
        if heads is None:
            most = min(MOST_HEADS, max(min(widths) // LEAST_CHANNELS, 1))
            heads = next(count for count in range(most, 0, -1) if all(width % count == 0 for width in widths))
        if heads < 1 or any(width % heads for width in widths):
            told = ", ".join(map(str, sorted({*widths})))
            raise ValueError(f"Expected `heads` to divide the widths of both networks, {told}, but got {heads}.")
        self.heads = heads

    def compute(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """Every sample counts, labelled or not."""
        losses = []
        for own, theirs in zip(student.features, teacher.features, strict=True):
            counted_BL = counted(batch, own)
            log_s, log_t = self._relations(own, counted_BL), self._relations(theirs, counted_BL)
            # What padding would be asked has a probability of 0 in both, and 0 times the difference of -inf is none.
            apart_BALL = (log_s - log_t).masked_fill(counted_BL[:, None, None, :] == 0, 0.0)
            losses.append(mean_over(-(log_t.exp() * apart_BALL).sum(3).mean(1), counted_BL))
        return torch.stack(losses).mean()

    def _relations(self, feature_BCL: Tensor, counted_BL: Tensor) -> Tensor:
        """Log-probabilities [B, A, L, L] of the positions that count."""
        heads_BADL = feature_BCL.reshape(len(feature_BCL), self.heads, -1, feature_BCL.shape[2])
        scores_BALL = heads_BADL.mT @ heads_BADL / math.sqrt(heads_BADL.shape[2])
        return torch.log_softmax(scores_BALL.masked_fill(counted_BL[:, None, None, :] == 0, -1e30), 3)

    def extra_repr(self) -> str:
        """The settings, for `print(module)`."""
        return f"heads={self.heads}"
