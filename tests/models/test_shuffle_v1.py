import pytest
import torch

from kd_lab.models.shuffle_v1 import ShuffleNetV1
from tests.models.zoo import COLOUR, check, cost, weights


def test_shuffle_v1__costs_what_is_published():
    assert cost("shuffle_v1") == (949_258, 38_691_456)


def test_shuffle_v1__takes_what_data_there_are():
    check("shuffle_v1")


def test_shuffle_v1__weights_have_the_names_of_the_published_student():
    found = weights("shuffle_v1")
    assert found["conv1.weight"] == (24, 3, 1, 1)
    assert found["layer1.0.conv1.weight"] == (54, 24, 1, 1), "one group on the 24 channels of the first convolution"
    assert found["layer1.0.bn3.weight"] == (216,)
    assert found["layer2.0.conv1.weight"] == (60, 80, 1, 1)
    assert found["layer3.3.conv2.weight"] == (240, 1, 3, 3)
    assert found["linear.weight"] == (100, 960)
    assert not [name for name in found if "shortcut" in name]


def test_shuffle_v1__a_sample_reaches_every_group():
    """Without the shuffle, a channel of one group would never be heard in another."""
    torch.manual_seed(0)
    built = ShuffleNetV1(2, COLOUR, groups=3, channels=[48, 96, 192], blocks=[2, 1, 1]).eval()
    maps = torch.randn(1, 48, 8, 8, requires_grad=True)
    built.layer1[1].bn3.register_forward_hook(lambda *call: call[-1][:, :16].sum().backward())
    built.layer1[1](maps)
    heard = maps.grad.abs().sum((0, 2, 3)) > 0
    assert heard[:16].any()
    assert heard[16:32].any()
    assert heard[32:].any()


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        (COLOUR, {"groups": 0}, "`groups` to be at least 1, but got 0"),
        (COLOUR, {"channels": [240, 480]}, r"three numbers each, one a stage, but got \[240, 480\] and \[4, 8, 4\]"),
        (COLOUR, {"blocks": [4, 0, 4]}, "`blocks` to be at least 1, but got 0"),
        (COLOUR, {"channels": [240, 481, 960]}, r"divide into `groups`=3, but got \[240, 481, 960\]"),
        (COLOUR, {"channels": [240, 240, 960]}, "to rise from 24"),
        ((64,), {}, r"of shuffle_v1 to be an image .*but got \(64,\)"),
    ],
)
def test_shuffle_v1__says_what_is_wrong(shape, options, message):
    with pytest.raises(ValueError, match=message):
        ShuffleNetV1(10, shape, **options)
