import pytest
import torch

from kd_lab.models.shuffle_v2 import Block, ShuffleNetV2
from tests.models.zoo import COLOUR, check, cost, weights


def test_shuffle_v2__costs_what_is_published():
    assert cost("shuffle_v2") == (1_355_528, 44_504_448)


def test_shuffle_v2__takes_what_data_there_are():
    check("shuffle_v2")


def test_shuffle_v2__weights_have_the_names_of_the_published_student():
    found = weights("shuffle_v2")
    assert found["conv1.weight"] == (24, 3, 1, 1)
    assert found["layer1.0.conv1.weight"] == (24, 1, 3, 3)
    assert found["layer1.0.conv5.weight"] == (58, 58, 1, 1)
    assert found["layer2.7.bn3.running_mean"] == (116,)
    assert found["conv2.weight"] == (1024, 464, 1, 1)
    assert found["linear.weight"] == (100, 1024)
    assert "layer3.4.conv1.weight" not in found


def test_shuffle_v2__a_block_passes_its_first_half_on_to_the_even_channels():
    torch.manual_seed(0)
    maps = torch.randn(2, 6, 4, 4)
    assert torch.equal(Block(6).eval()(maps)[:, ::2], maps[:, :3])


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        (COLOUR, {"channels": [116, 232, 464]}, r"four numbers, .*but got \[116, 232, 464\] and \[3, 7, 3\]"),
        (COLOUR, {"blocks": [3, 7]}, r"`blocks` three, but got"),
        (COLOUR, {"blocks": [3, 7, 0]}, "`blocks` to be at least 1, but got 0"),
        (COLOUR, {"channels": [116, 231, 464, 1024]}, r"even in each stage, but got \[116, 231, 464, 1024\]"),
        ((64,), {}, r"of shuffle_v2 to be an image .*but got \(64,\)"),
    ],
)
def test_shuffle_v2__says_what_is_wrong(shape, options, message):
    with pytest.raises(ValueError, match=message):
        ShuffleNetV2(10, shape, **options)
