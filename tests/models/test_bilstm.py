import pytest
import torch

from kd_lab.models.bilstm import BiLSTM
from tests.models.texts import GIVEN, check_every_parameter_learns, check_padding_does_not_count, texts


def test_bilstm__is_the_mean_of_its_states() -> None:
    torch.manual_seed(0)
    network = BiLSTM(**GIVEN, width=4, hidden=5).eval()
    given = texts(5, 9)
    means = [
        network.recurrent(network.embedding(row[:length]))[0].mean(0)
        for row, length in zip(given["input_ids"], (5, 9), strict=True)
    ]

    torch.testing.assert_close(network(**given), network.classifier(torch.stack(means)))


def test_bilstm__padding_does_not_count() -> None:
    check_padding_does_not_count(BiLSTM(**GIVEN, layers=2))


def test_bilstm__a_text_without_tokens_is_answered() -> None:
    assert BiLSTM(**GIVEN).eval()(**texts(0, 3)).isfinite().all()


def test_bilstm__parameters_by_hand_all_of_which_learn() -> None:
    network = BiLSTM(**GIVEN, width=4, hidden=5, dropout=0.0)
    assert sum(p.numel() for p in network.parameters()) == 30 * 4 + 2 * 4 * 5 * (4 + 5 + 2) + 10 * 3 + 3
    check_every_parameter_learns(network)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input_shape": (12, 6)}, r"of bilstm to be that of texts .*, but got \(12, 6\)"),
        ({"layers": 0}, "`layers` to be at least 1, but got 0"),
    ],
)
def test_bilstm__refuses(changes, message) -> None:
    with pytest.raises(ValueError, match=message):
        BiLSTM(**GIVEN | changes)
