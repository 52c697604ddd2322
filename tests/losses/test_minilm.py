import math

import pytest
import torch

from kd_lab.losses.minilm import MiniLM
from tests.losses.of_layers import value
from tests.losses.of_texts import check_padding_does_not_count

SHAPES = [
    (((8, 5),) * 3, ((12, 5),) * 3),
    (((16, 4),) * 3, ((32, 4),) * 3),  # two heads
]
SETTINGS = [{"heads": 4}, {"heads": 1}]
REFUSED = [
    ({"shapes": (((32,),), ((32,),))}, "Expected both layers of a pair to be maps .* or sequences"),
    ({"shapes": (((32, 1),), ((32, 1),))}, "Expected maps of more than one position"),
    ({"heads": 5}, "Expected `heads` to divide the widths of both networks, 8, 12, but got 5"),
    ({"heads": 0}, "Expected `heads` to divide the widths of both networks, 8, 12, but got 0"),
]


def test_minilm__by_hand() -> None:
    """One channel, two positions: products (1, 0; 0, 0) of the student, none of the teacher, whose rows are even."""
    own, theirs = torch.tensor([[[1.0, 0.0]]]), torch.zeros(1, 1, 2)
    even = 0.5 * math.log(0.5 / (math.e / (math.e + 1))) + 0.5 * math.log(0.5 / (1 / (math.e + 1)))

    assert value(MiniLM, own, theirs).item() == pytest.approx(even / 2)


@pytest.mark.parametrize(
    ("widths", "heads"), [((768, 768), 48), ((384, 768), 48), ((64, 128), 8), ((5, 7), 1), ((36, 24), 3)]
)
def test_minilm__as_many_heads_as_both_widths_bear(widths: tuple[int, int], heads: int) -> None:
    made = MiniLM(student_shapes=((widths[0], 4),), teacher_shapes=((widths[1], 4),))
    assert made.heads == heads


def test_minilm__padding_does_not_count() -> None:
    shapes = {"student_shapes": ((8, 5),) * 3, "teacher_shapes": ((12, 5),) * 3}
    check_padding_does_not_count(MiniLM(**shapes, heads=2), [8] * 3, [12] * 3)
