import pytest
import torch

from kd_lab.models.resnet_imagenet import ImageNetResNet
from tests.models.zoo import COLOUR, check, cost, network, spread, weights


@pytest.mark.parametrize(
    ("name", "parameters", "macs"),
    [
        # Parameters beside torchvision's for 1000 classes and a 7x7 stem. MACs published: 0.56G, 1.16G, 1.30G.
        ("resnet18", 11_689_512 - 7_680 - 900 * 513, 555_468_800),
        ("resnet34", 21_797_672 - 7_680 - 900 * 513, 1_159_448_576),
        ("resnet50", 25_557_032 - 7_680 - 900 * 2_049, 1_298_014_208),
    ],
)
def test_resnet_imagenet__costs_what_is_published(name, parameters, macs):
    assert cost(name) == (parameters, macs)


@pytest.mark.parametrize("name", ["resnet18", pytest.param("resnet50", marks=pytest.mark.slow)])
def test_resnet_imagenet__takes_what_data_there_are(name):
    check(name)


def test_resnet_imagenet__weights_have_the_names_of_the_published_teachers():
    found = weights("resnet50")
    assert found["conv1.weight"] == (64, 3, 3, 3)
    assert found["layer1.0.shortcut.0.weight"] == (256, 64, 1, 1)
    assert found["layer3.5.conv2.weight"] == (256, 256, 3, 3)
    assert found["layer4.2.bn3.running_mean"] == (2048,)
    assert found["linear.bias"] == (100,)
    assert sum(name.endswith("shortcut.0.weight") for name in found) == 4
    assert sum(name.endswith("shortcut.0.weight") for name in weights("resnet18")) == 3


def test_resnet_imagenet__convolutions_start_from_he():
    torch.manual_seed(0)
    built = network("resnet18")
    for path in ("conv1", "layer4.0.conv1", "layer2.0.shortcut.0"):
        assert spread(built, path) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        (COLOUR, {"blocks": [2, 2, 2]}, r"four numbers, one a stage, but got \[2, 2, 2\]"),
        (COLOUR, {"blocks": [2, 2, 2, 0]}, "`blocks` to be at least 1, but got 0"),
        ((8, 8), {"blocks": [2, 2, 2, 2]}, r"to be an image .*but got \(8, 8\)"),
    ],
)
def test_resnet_imagenet__says_what_is_wrong(shape, options, message):
    with pytest.raises(ValueError, match=message):
        ImageNetResNet(10, shape, **options)
