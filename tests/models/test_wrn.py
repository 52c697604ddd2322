import pytest
import torch

from kd_lab.models.wrn import WideResNet
from tests.models.zoo import COLOUR, check, cost, network, spread, weights


@pytest.mark.parametrize(
    ("name", "parameters", "macs"),
    [
        # Zagoruyko and Komodakis, tables 4 and 6: 0.2M, 0.7M, 0.6M, 2.2M parameters.
        ("wrn_16_1", 180_916, 26_663_168),
        ("wrn_16_2", 703_284, 101_118_464),
        ("wrn_40_1", 569_780, 83_286_272),
        ("wrn_40_2", 2_255_156, 327_610_880),
    ],
)
def test_wrn__costs_what_is_published(name, parameters, macs):
    assert cost(name) == (parameters, macs)


@pytest.mark.parametrize("name", ["wrn_16_1", "wrn_16_2"])
def test_wrn__takes_what_data_there_are(name):
    check(name)


def test_wrn__weights_have_the_names_of_the_published_teachers():
    found = weights("wrn_40_2")
    assert found["block1.layer.0.bn1.weight"] == (16,)
    assert found["block1.layer.0.convShortcut.weight"] == (32, 16, 1, 1)
    assert found["block3.layer.5.conv2.weight"] == (128, 128, 3, 3)
    assert found["bn1.bias"] == (128,)
    assert found["fc.weight"] == (100, 128)
    assert "block1.layer.0.convShortcut.weight" not in weights("wrn_40_1"), "16 channels stay 16"


def test_wrn__starts_from_he_and_without_a_bias():
    torch.manual_seed(0)
    built = network("wrn_16_2")
    for path in ("conv1", "block2.layer.0.conv1", "block3.layer.0.convShortcut"):
        assert spread(built, path) == pytest.approx(1, abs=0.1)
    assert built.fc.bias.eq(0).all()


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        (COLOUR, {"depth": 20, "width": 1}, r"`depth` of wrn to be 6n \+ 4 .*but got 20"),
        (COLOUR, {"depth": 4, "width": 1}, "but got 4"),
        (COLOUR, {"depth": 16, "width": 0}, "`width` to be at least 1, but got 0"),
        ((64,), {"depth": 16, "width": 1}, r"of wrn to be an image .*but got \(64,\)"),
    ],
)
def test_wrn__says_what_is_wrong(shape, options, message):
    with pytest.raises(ValueError, match=message):
        WideResNet(10, shape, **options)
