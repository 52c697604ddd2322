import urllib.error

import pytest
import torch
import torchvision

from kd_lab.models.torchvision import Torchvision, _replace_head, check_name

SMALL = "shufflenet_v2_x0_5"


def test_torchvision__is_the_network_of_that_name():
    module = Torchvision(7, (3, 32, 32), name=SMALL)
    expected = torchvision.models.get_model(SMALL, num_classes=7)
    assert {k: v.shape for k, v in module.network.state_dict().items()} == {
        k: v.shape for k, v in expected.state_dict().items()
    }


def test_torchvision__gray_is_repeated():
    module = Torchvision(4, (1, 32, 32), name=SMALL).eval()
    gray = torch.randn(2, 1, 32, 32)
    torch.testing.assert_close(module(gray), module.network(gray.repeat(1, 3, 1, 1)))


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("vit_b_32", 32),
        pytest.param("googlenet", 32, marks=pytest.mark.slow),
        pytest.param("inception_v3", 75, marks=pytest.mark.slow),
        pytest.param("maxvit_t", 224, marks=pytest.mark.slow),
    ],
)
def test_torchvision__one_output_in_training_too(name, size):
    module = Torchvision(4, (3, size, size), name=name).train()
    assert module(torch.randn(2, 3, size, size)).shape == (2, 4)


def test_check_name__near_names_without_building(monkeypatch):
    monkeypatch.setattr(torchvision.models, "get_model", lambda *_, **__: pytest.fail("it built a network"))
    with pytest.raises(ValueError, match=r"network of torchvision, but got resnet19: did you mean .*resnet18"):
        check_name("resnet19")
    with pytest.raises(ValueError, match="but got fasterrcnn_resnet50_fpn:"):
        check_name("fasterrcnn_resnet50_fpn")
    check_name("resnet18")


@pytest.mark.parametrize(
    ("shape", "name", "message"),
    [
        ((64,), SMALL, r"torchvision network shufflenet_v2_x0_5 to be an image .*got \(64,\): .*choose mlp"),
        ((4, 32, 32), SMALL, r"1 or 3 channels, but got \(4, 32, 32\): choose timm"),
        ((3, 8, 8), "alexnet", r"alexnet can take, but it fails on \(3, 8, 8\) \(.*\): give larger images"),
        ((3, 30, 30), "vit_b_32", r"vit_b_32 can take, but it fails on \(3, 30, 30\)"),
        ((3, 32, 64), "vit_b_32", r"vit_b_32 can take, but it fails on \(3, 32, 64\)"),
    ],
)
def test_torchvision__says_which_shape_it_cannot_take(shape, name, message):
    with pytest.raises(ValueError, match=message) as caught:
        Torchvision(10, shape, name=name)
    assert "\n" not in str(caught.value)


def test_torchvision__no_weights_without_network(monkeypatch, tmp_path):
    def refuse(*_, **__):
        raise urllib.error.URLError("no network in this test")

    monkeypatch.setattr("torch.hub.download_url_to_file", refuse)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(ValueError, match=r"pretrained weights for torchvision network .*set pretrained=false"):
        Torchvision(10, (3, 32, 32), name=SMALL, pretrained=True)


@pytest.mark.parametrize("name", [SMALL, "squeezenet1_1", "mobilenet_v3_small", "vit_b_32"])
def test_replace_head__last_layer_only(name):
    network = torchvision.models.get_model(name)
    before = dict(network.named_parameters())
    _replace_head(network, 5)
    changed = {k for k, v in network.named_parameters() if v is not before[k]}
    assert {k.rpartition(".")[0] for k in changed} == {next(reversed(before)).rpartition(".")[0]}
    assert network.eval()(torch.zeros(1, 3, 224, 224)).shape == (1, 5)


def test_torchvision__pretrained_keeps_everything_but_the_head(monkeypatch):
    saved = torchvision.models.get_model(SMALL).state_dict()
    monkeypatch.setattr(
        torchvision.models.ShuffleNet_V2_X0_5_Weights, "get_state_dict", lambda self, **_: saved, raising=True
    )
    module = Torchvision(5, (1, 32, 32), name=SMALL, pretrained=True)
    found = module.network.state_dict()
    assert all(torch.equal(found[k], v) for k, v in saved.items() if not k.startswith("fc."))
    assert found["fc.weight"].shape == (5, 1024)
