import pytest
import torch
from torch.nn import functional as F

from kd_lab.models.text_cnn import TextCNN
from tests.models.texts import GIVEN, check_every_parameter_learns, check_padding_does_not_count, texts


def test_text_cnn__is_the_largest_value_of_each_channel() -> None:
    torch.manual_seed(0)
    network = TextCNN(**GIVEN, width=4, channels=6, windows=[3]).eval()
    given = texts(5, 9)
    conv = network.convolutions[0]
    maxima = []
    for row, length in zip(given["input_ids"], (5, 9), strict=True):
        text = F.pad(network.embedding(row[:length]).T, (1, 1))
        windows = [text[:, place : place + 3] for place in range(length)]
        maxima.append(torch.stack([(conv.weight * w).sum((1, 2)) + conv.bias for w in windows]).clamp(min=0).amax(0))

    torch.testing.assert_close(network(**given), network.classifier(torch.stack(maxima)))


def test_text_cnn__padding_does_not_count() -> None:
    check_padding_does_not_count(TextCNN(**GIVEN))


def test_text_cnn__parameters_by_hand_all_of_which_learn() -> None:
    network = TextCNN(**GIVEN, width=4, channels=6, windows=[2, 3], dropout=0.0)
    assert sum(p.numel() for p in network.parameters()) == 30 * 4 + (2 + 3) * 4 * 6 + 2 * 6 + 12 * 3 + 3
    check_every_parameter_learns(network)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input_shape": (64,)}, r"of text_cnn to be that of texts .*, but got \(64,\)"),
        ({"windows": []}, "`windows` to be at least 1, but got 0"),
        ({"channels": 0}, "`channels` to be at least 1, but got 0"),
    ],
)
def test_text_cnn__refuses(changes, message) -> None:
    with pytest.raises(ValueError, match=message):
        TextCNN(**GIVEN | changes)
