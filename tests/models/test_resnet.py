import pytest
import torch

from kd_lab.models.resnet import ResNet
from tests.models.zoo import COLOUR, check, cost, network, spread, weights


@pytest.mark.parametrize(
    ("name", "parameters", "macs"),
    [
        # 97,216 parameters and 14,155,776 MACs more for each six layers. Published for 20 to 56 layers: 0.28M, 0.47M,
        # 0.67M, 0.86M parameters and 40.82M, 69.13M, 97.44M, 125.75M MACs; He et al. say 1.7M for 110.
        ("resnet8", 83_892, 12_507_392),
        ("resnet14", 181_108, 26_663_168),
        ("resnet20", 278_324, 40_818_944),
        ("resnet32", 472_756, 69_130_496),
        ("resnet44", 667_188, 97_442_048),
        ("resnet56", 861_620, 125_753_600),
        ("resnet110", 1_736_564, 253_155_584),
        ("resnet8x4", 1_233_540, 177_071_104),
        ("resnet32x4", 7_433_860, 1_083_040_768),
    ],
)
def test_resnet__costs_what_is_published(name, parameters, macs):
    assert cost(name) == (parameters, macs)


def test_resnet__takes_what_data_there_are():
    check("resnet8x4")


def test_resnet__weights_have_the_names_of_the_published_teachers():
    found = weights("resnet32x4")
    assert found["conv1.weight"] == (32, 3, 3, 3)
    assert found["bn1.running_var"] == (32,)
    assert found["layer1.0.downsample.0.weight"] == (64, 32, 1, 1)
    assert found["layer2.4.conv2.weight"] == (128, 128, 3, 3)
    assert found["layer3.0.downsample.1.bias"] == (256,)
    assert found["fc.weight"] == (100, 256)
    assert not [name for name in weights("resnet20") if name.startswith("layer1.0.downsample")]
    assert len(found) == 7 + 3 * 5 * 12 + 3 * 6 + 1


def test_resnet__convolutions_start_from_he():
    torch.manual_seed(0)
    built = network("resnet20")
    for path in ("conv1", "layer2.0.conv1", "layer3.0.downsample.0"):
        assert spread(built, path) == pytest.approx(1, abs=0.1)
    assert built.layer1[0].bn2.weight.eq(1).all()
    assert built.layer1[0].bn2.bias.eq(0).all()


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        (COLOUR, {"depth": 18}, r"`depth` of resnet to be 6n \+ 2 .*but got 18"),
        (COLOUR, {"depth": 2}, "but got 2"),
        (COLOUR, {"depth": 8, "channels": [16, 32, 64]}, r"four numbers, .*but got \[16, 32, 64\]"),
        (COLOUR, {"depth": 8, "channels": [16, 0, 32, 64]}, "`channels` to be at least 1, but got 0"),
        ((64,), {"depth": 8}, r"of resnet to be an image .*but got \(64,\)"),
    ],
)
def test_resnet__says_what_is_wrong(shape, options, message):
    with pytest.raises(ValueError, match=message):
        ResNet(10, shape, **options)
