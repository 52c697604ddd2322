"""What the tests of losses over tokens share: the same texts, padded more or less, with anything in the padding."""

import torch
from torch import Tensor

from kd_lab.losses.common.loss import Loss
from kd_lab.types import Batch, Outputs

LENGTHS = (5, 2, 3)


def text_batch(positions: int) -> Batch:
    mask = (torch.arange(positions) < torch.tensor(LENGTHS)[:, None]).long()
    rows = torch.arange(len(LENGTHS))
    return Batch({"input_ids": mask * 7, "attention_mask": mask}, rows, rows)


def features(shapes: list[int], positions: int, *, seed: int, junk: float) -> tuple[Tensor, ...]:
    """[3, C, positions] each: the same up to the end of each text, `junk` behind it."""
    mask = text_batch(positions).inputs["attention_mask"]  # type: ignore[index,call-overload]
    generator = torch.Generator().manual_seed(seed)
    made = []
    for width in shapes:
        whole = torch.full((len(LENGTHS), width, positions), junk)
        whole[:, :, : max(LENGTHS)] = torch.randn(len(LENGTHS), width, max(LENGTHS), generator=generator)
        made.append(whole.masked_fill(mask[:, None] == 0, junk))
    return tuple(made)


def check_padding_does_not_count(loss: Loss, own: list[int], theirs: list[int]) -> None:
    """Value and gradient are the same whatever stands in the padding and however much of it there is."""
    found = []
    for positions, junk in ((5, 0.0), (5, 3.0), (9, -100.0)):
        student = [one.requires_grad_() for one in features(own, positions, seed=0, junk=junk)]
        teacher = features(theirs, positions, seed=1, junk=-junk)
        logits = torch.zeros(len(LENGTHS), 2)
        value = loss(Outputs(logits, tuple(student)), Outputs(logits, teacher), text_batch(positions))
        slopes = torch.autograd.grad(value, student)
        for slope in slopes:
            behind = text_batch(positions).inputs["attention_mask"][:, None] == 0  # type: ignore[index,call-overload]
            assert slope.masked_select(behind).abs().sum() == 0
        found.append((value, [slope[:, :, :5] for slope in slopes]))
    for value, slopes in found[1:]:
        torch.testing.assert_close(value, found[0][0])
        for one, other in zip(slopes, found[0][1], strict=True):
            torch.testing.assert_close(one, other)
    assert found[0][0] > 0
