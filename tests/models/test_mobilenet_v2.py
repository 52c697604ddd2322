import pytest
import torch

from kd_lab.models.mobilenet_v2 import MobileNetV2
from tests.models.zoo import COLOUR, check, cost, network, spread, weights


def test_mobilenet_v2__costs_what_is_published():
    assert cost("mobilenet_v2") == (812_836, 6_523_648)


def test_mobilenet_v2__takes_what_data_there_are():
    check("mobilenet_v2")


def test_mobilenet_v2__weights_have_the_names_of_the_published_student():
    found = weights("mobilenet_v2")
    assert found["conv1.0.weight"] == (16, 3, 3, 3)
    assert found["blocks.0.0.conv.0.weight"] == (16, 16, 1, 1), "the first block too begins with a 1x1 convolution"
    assert found["blocks.1.0.conv.3.weight"] == (48, 1, 3, 3)
    assert found["blocks.6.0.conv.7.bias"] == (160,)
    assert found["conv2.1.running_var"] == (1280,)
    assert found["classifier.0.weight"] == (100, 1280)


def test_mobilenet_v2__starts_from_he_and_with_a_small_classifier():
    torch.manual_seed(0)
    built = network("mobilenet_v2")
    for path in ("conv1.0", "blocks.5.1.conv.3", "conv2.0"):
        assert spread(built, path) == pytest.approx(1, abs=0.1)
    assert float(built.classifier[0].weight.detach().std()) == pytest.approx(0.01, rel=0.1)


@pytest.mark.parametrize(("width", "last", "stage"), [(1.0, 1280, 320), (1.5, 1920, 480), (0.25, 1280, 80)])
def test_mobilenet_v2__the_last_convolution_grows_but_does_not_shrink(width, last, stage):
    built = MobileNetV2(10, COLOUR, width=width, expansion=2)
    assert built.conv2[0].weight.shape == (last, stage, 1, 1)
    assert built.blocks[1][0].conv[0].out_channels == 2 * int(16 * width)


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        (COLOUR, {"width": 0.05}, "`width` of mobilenet_v2 to be at least 1/16, but got 0.05"),
        (COLOUR, {"expansion": 0}, "`expansion` to be at least 1, but got 0"),
        ((64,), {}, r"of mobilenet_v2 to be an image .*but got \(64,\)"),
    ],
)
def test_mobilenet_v2__says_what_is_wrong(shape, options, message):
    with pytest.raises(ValueError, match=message):
        MobileNetV2(10, shape, **options)
