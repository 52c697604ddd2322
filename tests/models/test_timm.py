import socket
import time

import pytest
import timm
import torch

from kd_lab.models.timm import Timm, check_name

SMALL = "mobilenetv3_small_050"


def test_timm__is_the_network_of_that_name():
    torch.manual_seed(0)
    module = Timm(7, (1, 32, 32), name=SMALL)
    expected = timm.create_model(SMALL, num_classes=7, in_chans=1)
    assert {k: v.shape for k, v in module.network.state_dict().items()} == {
        k: v.shape for k, v in expected.state_dict().items()
    }
    assert module(torch.randn(2, 1, 32, 32)).shape == (2, 7)


def test_timm__five_channels():
    assert Timm(3, (5, 32, 32), name=SMALL)(torch.zeros(2, 5, 32, 32)).shape == (2, 3)


@pytest.mark.parametrize("size", [32, 28])
def test_timm__a_transformer_is_built_for_the_image_size(size):
    module = Timm(3, (1, size, size), name="vit_tiny_patch16_224")
    assert module(torch.zeros(2, 1, size, size)).shape == (2, 3)


def test_timm__the_check_changes_neither_statistics_nor_randomness_nor_mode():
    torch.manual_seed(0)
    module = Timm(3, (3, 32, 32), name=SMALL)
    after = torch.rand(1)
    torch.manual_seed(0)
    timm.create_model(SMALL, num_classes=3, in_chans=3)
    assert torch.equal(after, torch.rand(1))
    assert module.training
    assert module.network.training
    assert all(int(v) == 0 for k, v in module.state_dict().items() if k.endswith("num_batches_tracked"))


def test_check_name__near_names_without_building(monkeypatch):
    monkeypatch.setattr(timm, "create_model", lambda *_, **__: pytest.fail("it built a network"))
    with pytest.raises(ValueError, match=r"`name` to be a network of timm, but got resnet81: did you mean .*resnet18"):
        check_name("resnet81")
    with pytest.raises(ValueError, match="network of timm, but got resnet81"):
        Timm(10, (64,), name="resnet81")
    check_name("resnet18.a1_in1k")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shape", "name", "message"),
    [
        ((64,), SMALL, r"timm network mobilenetv3_small_050 to be an image .*but got \(64,\): .*choose mlp"),
        ((3, 8, 8), "vgg11", r"timm network vgg11 can take, but it fails on \(3, 8, 8\) \(.*\): give larger images"),
        ((3, 8, 8), "vit_tiny_patch16_224", r"fails on \(3, 8, 8\)"),
    ],
)
def test_timm__says_which_shape_it_cannot_take(shape, name, message):
    with pytest.raises(ValueError, match=message) as caught:
        Timm(10, shape, name=name)
    assert "\n" not in str(caught.value)


def test_timm__no_weights_without_network_is_said_soon(monkeypatch, tmp_path):
    def refuse(*_, **__):
        raise socket.gaierror("no network in this test")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    started = time.monotonic()
    with pytest.raises(ValueError, match=r"pretrained weights for timm network resnet18 .*set pretrained=false"):
        Timm(10, (3, 32, 32), name="resnet18", pretrained=True)
    assert time.monotonic() - started < 10


def test_timm__pretrained_weights_are_adapted(monkeypatch):
    asked = {}
    build = timm.create_model

    def remember(name, *, pretrained, **settings):
        asked[pretrained] = settings
        return build(name, pretrained=False, **settings)

    monkeypatch.setattr(timm, "create_model", remember)
    monkeypatch.setattr("kd_lab.models.timm._reachable", lambda _: True)
    Timm(3, (1, 32, 32), name="vit_tiny_patch16_224", pretrained=True)
    assert asked[True] == {"num_classes": 3, "in_chans": 1, "img_size": (32, 32)}
