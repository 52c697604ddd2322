import pytest
import torch

from kd_lab.models.vgg import VGG
from tests.models.zoo import COLOUR, check, cost, network, spread, weights

THIRTEEN = {"convolutions": [2, 2, 2, 2, 2]}


@pytest.mark.parametrize(
    ("name", "parameters", "macs"),
    [
        ("vgg8", 3_965_028, 96_192_512),
        ("vgg11", 9_277_284, 209_438_720),
        ("vgg13", 9_462_180, 284_936_192),
        ("vgg16", 14_774_436, 398_182_400),
    ],
)
def test_vgg__costs_what_is_published(name, parameters, macs):
    assert cost(name) == (parameters, macs)


def test_vgg__takes_what_data_there_are():
    check("vgg8")


def test_vgg__weights_have_the_names_of_the_published_teachers():
    found = weights("vgg13")
    assert found["block0.0.weight"] == (64, 3, 3, 3)
    assert found["block0.0.bias"] == (64,)
    assert found["block0.4.running_mean"] == (64,)
    assert found["block3.0.weight"] == (512, 256, 3, 3)
    assert found["block4.3.weight"] == (512, 512, 3, 3)
    assert found["classifier.weight"] == (100, 512)
    assert len(found) == 5 * 2 * 7 + 2


def test_vgg__starts_from_he_and_with_a_small_classifier():
    torch.manual_seed(0)
    built = network("vgg8")
    for path in ("block0.0", "block3.0"):
        assert spread(built, path) == pytest.approx(1, abs=0.1)
    assert built.block3[0].bias.eq(0).all()
    assert float(built.classifier.weight.detach().std()) == pytest.approx(0.01, rel=0.1)
    assert built.classifier.bias.eq(0).all()


@pytest.mark.parametrize(("size", "last"), [(32, 4), (48, 6), (64, 4), (8, 1)])
def test_vgg__the_last_block_is_pooled_before_only_on_large_images(size, last):
    seen = []
    built = VGG(2, (1, size, size), convolutions=[1, 1, 1, 1, 1]).eval()
    built.block4.register_forward_hook(lambda *call: seen.append(tuple(call[-1].shape[2:])))
    built(torch.zeros(1, 1, size, size))
    assert seen == [(last, last)]


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((1, 7, 28), THIRTEEN, r"of vgg to be at least 8 pixels high and wide, but got \(1, 7, 28\): give larger"),
        (COLOUR, {"convolutions": [1, 1]}, r"five numbers, one a block, but got \[1, 1\]"),
        (COLOUR, {"convolutions": [1, 1, 1, 1, 0]}, "`convolutions` to be at least 1, but got 0"),
        ((64,), THIRTEEN, r"of vgg to be an image .*but got \(64,\)"),
    ],
)
def test_vgg__says_what_is_wrong(shape, options, message):
    with pytest.raises(ValueError, match=message):
        VGG(10, shape, **options)
