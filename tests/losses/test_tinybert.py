import pytest
import torch

from kd_lab.losses.tinybert import TinyBERT
from tests.losses.of_layers import said
from tests.losses.of_texts import check_padding_does_not_count

SHAPES = [
    (((4, 5), (4, 5), (4, 5)), ((6, 5), (6, 5), (6, 5))),
    (((4, 3),) * 6, ((4, 3),) * 6),  # two blocks
]
REFUSED = [
    ({"shapes": (((32,),) * 3, ((32,),) * 3)}, r"sequences \[channels, length\] of one length, but got \[32\]"),
    (
        {"shapes": (((8, 4),) * 2, ((8, 4),) * 2)},
        "Expected 3 layers of each block, queries, keys and states, but got 2",
    ),
    ({"teacher_heads": 4}, "as many attention heads of the student as of the teacher, but got 2 and 4: choose"),
]


def test_tinybert__by_hand() -> None:
    """One head, one channel, one position: (2 * 3 - 1 * 1)^2 of the scores and (2 * 1 - 5)^2 of the states."""
    shapes = ((1, 1),) * 3
    loss = TinyBERT(student_shapes=shapes, teacher_shapes=shapes, student_heads=1, teacher_heads=1)
    with torch.no_grad():
        loss.projectors[0].weight.fill_(2.0)
    own, theirs = (tuple(torch.tensor([[[x]]]) for x in of) for of in ((2.0, 3.0, 1.0), (1.0, 1.0, 5.0)))

    assert said(loss, own, theirs).item() == pytest.approx(25 + 9)


def test_tinybert__padding_does_not_count() -> None:
    torch.manual_seed(0)
    shapes = {"student_shapes": ((4, 5),) * 3, "teacher_shapes": ((6, 5),) * 3}
    check_padding_does_not_count(TinyBERT(**shapes, student_heads=2, teacher_heads=2), [4] * 3, [6] * 3)
