import pytest
import torch

from kd_lab.models.bag_of_embeddings import BagOfEmbeddings
from tests.models.texts import GIVEN, check_every_parameter_learns, check_padding_does_not_count, texts


def test_bag__is_the_mean_of_its_words() -> None:
    network = BagOfEmbeddings(**GIVEN, width=5).eval()
    given = texts(2, 4)
    words = [network.embedding(row[:n]).mean(0) for row, n in zip(given["input_ids"], (2, 4), strict=True)]

    torch.testing.assert_close(network(**given), network.classifier(torch.stack(words)))


def test_bag__order_does_not_matter_and_padding_does_not_count() -> None:
    network = BagOfEmbeddings(**GIVEN).eval()
    given = texts(9)
    turned = {name: one.flip(1) for name, one in given.items()}

    torch.testing.assert_close(network(**given), network(**turned))
    check_padding_does_not_count(network)


def test_bag__parameters_by_hand_all_of_which_learn() -> None:
    network = BagOfEmbeddings(**GIVEN, width=5)
    assert sum(p.numel() for p in network.parameters()) == 30 * 5 + 5 * 3 + 3
    check_every_parameter_learns(network)


def test_bag__a_text_without_tokens_is_answered_by_the_bias() -> None:
    network = BagOfEmbeddings(**GIVEN).eval()
    torch.testing.assert_close(network(**texts(0, 3))[0], network.classifier.bias)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"input_shape": (1, 8, 8)},
            r"of bag_of_embeddings to be that of texts .*, but got \(1, 8, 8\): choose dataset",
        ),
        ({"vocab_size": None}, "choose dataset=text"),
        ({"width": 0}, "`width` to be at least 1, but got 0"),
    ],
)
def test_bag__refuses(changes, message) -> None:
    with pytest.raises(ValueError, match=message):
        BagOfEmbeddings(**GIVEN | changes)
