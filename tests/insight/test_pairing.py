"""What is proposed for real networks: whoever reads these lists should find them sensible."""

import functools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kd_lab.errors import UserError
from kd_lab.insight.pairing import Pair, every_pair, named, propose
from kd_lab.insight.probe import Probe
from kd_lab.insight.stages import embedding, pooled, stages
from kd_lab.models.cnn import CNN
from kd_lab.models.ensemble import Ensemble
from kd_lab.models.fcn import FCN
from kd_lab.models.inception_time import InceptionTime
from kd_lab.models.mlp import MLP
from kd_lab.models.rnn import RNN
from kd_lab.models.timm import Timm
from kd_lab.models.torchvision import Torchvision
from tests.models.zoo import network

COLOUR, GREY = (3, 32, 32), (1, 8, 8)


class Conv1d(nn.Module):
    """A network over sequences [channels, length]."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv1d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool1d(2), nn.Conv1d(8, 16, 3, padding=1), nn.ReLU()
        )
        self.head = nn.Linear(16, 10)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.body(inputs).mean(2))


class Functional(nn.Module):
    """Activations without modules, a layer that is defined but never called."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.unused = nn.Linear(64, 20), nn.Linear(20, 10), nn.Linear(64, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.two(torch.relu(self.one(inputs.flatten(1))))


@functools.cache
def probe(name: str) -> Probe:
    made: dict[str, tuple[Any, tuple[int, ...]]] = {
        "cnn": (lambda: CNN(10, GREY), GREY),
        "small cnn": (lambda: CNN(10, GREY, channels=[8, 16]), GREY),
        "mlp": (lambda: MLP(10, GREY, widths=[32, 16]), GREY),
        "linear": (lambda: MLP(10, GREY, widths=[]), GREY),
        "rnn": (lambda: RNN(10, GREY), GREY),
        "ensemble": (lambda: Ensemble(lambda: CNN(10, GREY), 2), GREY),
        "functional": (Functional, GREY),
        "conv1d": (Conv1d, (3, 12)),
        "fcn": (lambda: FCN(10, (1, 12)), (1, 12)),
        "small fcn": (lambda: FCN(10, (1, 12), widths=[20, 40, 20]), (1, 12)),
        "inception_time": (lambda: InceptionTime(10, (1, 12)), (1, 12)),
        "resnet18": (lambda: Torchvision(10, COLOUR), COLOUR),
        "timm resnet18": (lambda: Timm(10, COLOUR), COLOUR),
        "mobilenet": (lambda: Torchvision(10, COLOUR, name="mobilenet_v2"), COLOUR),
        "vgg": (lambda: Torchvision(10, COLOUR, name="vgg11_bn"), COLOUR),
        "efficientnet": (lambda: Timm(10, COLOUR, name="efficientnet_b0"), COLOUR),
        "vit": (lambda: Timm(10, COLOUR, name="vit_tiny_patch16_224"), COLOUR),
    }
    build, shape = made[name] if name in made else (lambda: network(name, classes=10), COLOUR)
    torch.manual_seed(0)
    return Probe.of(build(), torch.randn(2, *shape))


def ends(name: str, *, maps: bool = True) -> list[str]:
    return [layer.path for layer in stages(probe(name), maps=maps)]


def pairs(layers: str, student: str, teacher: str, *, maps: bool = False, pre: bool = False) -> list[tuple[str, str]]:
    found = propose(layers, probe(student), probe(teacher), maps=maps, pre_activation=pre)
    return [(pair.student.name, pair.teacher.name) for pair in found]


@pytest.mark.parametrize(
    ("network", "layers"),
    [
        ("cnn", ["features.2", "features.5"]),
        ("rnn", ["recurrent"]),
        ("ensemble", ["members.1.features.2", "members.1.features.5"]),
        ("conv1d", ["body.1", "body"]),
        ("fcn", ["blocks.0", "blocks.1", "blocks.2"]),
        ("inception_time", ["blocks.0", "blocks.1"]),
        ("resnet18", ["network.layer1", "network.layer2", "network.layer3", "network.layer4"]),
        ("timm resnet18", ["network.layer1", "network.layer2", "network.layer3", "network.layer4"]),
        (
            "mobilenet",
            [
                "network.features.1",
                "network.features.3",
                "network.features.6",
                "network.features.13",
                "network.features",
            ],
        ),
        ("vgg", ["network.features.6", "network.features.13", "network.features.20", "network.features.27"]),
        (
            "efficientnet",
            ["network.blocks.0", "network.blocks.1", "network.blocks.2", "network.blocks.4", "network.bn2"],
        ),
        ("vit", [f"network.blocks.{i}" for i in range(12)]),
        ("mlp", []),
    ],
)
def test_stages__end_where_a_person_would_say(network: str, layers: list[str]) -> None:
    assert ends(network)[: len(layers)] == layers
    assert len(ends(network)) - len(layers) in (0, 1 if network == "vgg" else 0)


@pytest.mark.parametrize(
    ("network", "layers"),
    [("mlp", ["layers.2", "layers.4"]), ("cnn", ["features", "classifier.2"]), ("linear", []), ("functional", ["one"])],
)
def test_stages__vectors_are_the_hidden_ones(network: str, layers: list[str]) -> None:
    assert ends(network, maps=False) == layers


@pytest.mark.parametrize(
    ("network", "read"),
    [
        ("cnn", "classifier.3:input"),
        ("mlp", "layers.5:input"),
        ("rnn", "classifier:input"),
        ("resnet18", "network.fc:input"),
        ("vit", "network.head:input"),
        ("ensemble", "members.1.classifier.2"),
        ("functional", "two:input"),
    ],
)
def test_embedding__is_what_the_classifier_reads(network: str, read: str) -> None:
    assert embedding(probe(network))[0].name == read


def test_embedding__of_a_linear_classifier_is_not_there() -> None:
    """What it reads are the inputs, where nothing can be learned."""
    with pytest.raises(
        ValueError, match=r"expected a hidden vector before the logits, but there is none; its layers: "
    ):
        embedding(probe("linear"))


@pytest.mark.parametrize(
    ("network", "layer"),
    [
        ("resnet18", "network.layer4"),
        ("conv1d", "body"),
        ("fcn", "blocks"),
        ("inception_time", "blocks"),
        ("cnn", None),
        ("mlp", None),
        ("ensemble", None),
    ],
)
def test_pooled__is_the_map_whose_average_the_classifier_reads(network: str, layer: str | None) -> None:
    found = pooled(probe(network))

    assert (found.path if found else None) == layer


SERIES = [f"blocks.{i}" for i in (0, 1, 2)]
THREE, FOUR = [f"layer{i}" for i in (1, 2, 3)], [f"layer{i}" for i in (1, 2, 3, 4)]
BLOCKS, MOBILE = [f"block{i}" for i in (1, 2, 3, 4)], [f"blocks.{i}" for i in (1, 2, 4, 6)]


@pytest.mark.parametrize(
    ("teacher", "student", "theirs", "own"),
    [
        ("fcn", "small fcn", SERIES, SERIES),
        ("resnet32x4", "resnet8x4", THREE, THREE),
        ("wrn_40_2", "wrn_40_1", BLOCKS[:3], BLOCKS[:3]),
        ("wrn_40_2", "shuffle_v1", BLOCKS[:3], THREE),
        ("resnet32x4", "shuffle_v2", THREE, THREE),
        ("vgg13", "vgg8", BLOCKS, BLOCKS),
        ("vgg13", "mobilenet_v2", BLOCKS, MOBILE),
        ("resnet34", "vgg8", FOUR, BLOCKS),
    ],
)
def test_propose__what_papers_compare(teacher: str, student: str, theirs: list[str], own: list[str]) -> None:
    """Every stage, for a hint the second, else the last; what is averaged for the classifier: CRD's pairs, and FCN."""
    expected = list(zip(own, theirs, strict=True))

    assert pairs("stages", student, teacher) == expected
    assert pairs("hint", student, teacher) == expected[1:2]
    assert pairs("last", student, teacher) == expected[-1:]
    heads = {
        "resnet8x4": "fc",
        "wrn_40_1": "fc",
        "vgg8": "classifier",
        "mobilenet_v2": "classifier.0",
        "small fcn": "classifier",
    }
    assert pairs("embedding", student, teacher)[0][0] == f"{heads.get(student, 'linear')}:input"


@pytest.mark.parametrize(
    ("network", "layer"),
    [
        ("resnet8x4", "layer3"),
        ("wrn_16_1", "relu"),
        ("vgg8", "block4"),
        ("mobilenet_v2", "conv2"),
        ("shuffle_v1", "layer3"),
        ("shuffle_v2", "relu"),
        ("resnet34", "layer4"),
    ],
)
def test_pooled__of_the_networks_for_small_images(network: str, layer: str) -> None:
    found = pooled(probe(network))

    assert found is not None
    assert found.path == layer


def test_stages__a_network_that_names_a_layer_that_it_does_not_have() -> None:
    class Wrong(CNN):
        stage_ends = ("features.2", "layer1")

    with pytest.raises(UserError, match=r"^Wrong\.stage_ends: there is no layer layer1; its layers: features\.0 "):
        stages(Probe.of(Wrong(10, GREY), torch.randn(2, *GREY)), maps=True)


def test_propose__stages_of_two_cnns_meet_at_the_nearest_resolution() -> None:
    """MobileNetV2 has one stage more, at 16x16, where ResNet-18 begins with 8x8."""
    assert pairs("stages", "mobilenet", "resnet18") == [
        ("network.features.3", "network.layer1"),
        ("network.features.6", "network.layer2"),
        ("network.features.13", "network.layer3"),
        ("network.features", "network.layer4"),
    ]
    turned = [(t, s) for s, t in pairs("stages", "resnet18", "mobilenet")]
    assert turned == pairs("stages", "mobilenet", "resnet18")


def test_propose__networks_of_one_resolution_meet_at_the_same_part_of_their_depth() -> None:
    assert pairs("stages", "small fcn", "inception_time") == [("blocks.1", "blocks.0"), ("blocks.2", "blocks.1")]


def test_propose__blocks_of_a_transformer_are_spread_over_the_stages() -> None:
    assert pairs("stages", "vit", "resnet18") == [(f"network.blocks.{i}", f"network.layer{n}") for i, n in
                                                  ((2, 1), (5, 2), (8, 3), (11, 4))]  # fmt: skip
    assert pairs("stages", "vit", "vit") == [(f"network.blocks.{i}",) * 2 for i in (2, 5, 8, 11)]


def test_propose__tokens_beside_a_map_are_a_map_without_their_class_token() -> None:
    found = propose("last", probe("vit"), probe("resnet18"), maps=True, pre_activation=False)

    assert found[0].student.prefix == 1
    assert found[0].student_shape == (192, 2, 2)
    both = propose("last", probe("vit"), probe("vit"), maps=True, pre_activation=False)
    assert both[0].student_shape == (192, 5)


def test_propose__hint_is_the_middle_and_last_the_end() -> None:
    assert pairs("hint", "resnet18", "timm resnet18") == [("network.layer2", "network.layer2")]
    assert pairs("last", "resnet18", "timm resnet18") == [("network.layer4", "network.layer4")]


def test_propose__without_maps_on_both_sides_vectors_are_compared() -> None:
    assert pairs("last", "mlp", "resnet18") == [("layers.4", "network.fc:input")]
    assert pairs("stages", "mlp", "cnn") == [("layers.2", "features"), ("layers.4", "classifier.2")]
    assert pairs("pooled", "mlp", "resnet18") == [("layers.5:input", "network.fc:input")]
    assert pairs("last", "rnn", "mlp") == [("classifier:input", "layers.4")]


def test_propose__before_the_activation_is_what_goes_into_the_closing_relu() -> None:
    found = propose("stages", probe("cnn"), probe("resnet18"), maps=True, pre_activation=True)

    assert [(p.student.name, p.teacher.name) for p in found] == [
        ("features.2:input", "network.layer2.1.relu:input"),
        ("features.5:input", "network.layer4.1.relu:input"),
    ]
    assert found[0].teacher.clone, "torchvision's ReLU writes into what it is given"


def test_propose__a_network_without_maps_is_named_with_its_layers() -> None:
    with pytest.raises(ValueError, match=r"expected maps or sequences .* but the student has none; .*layers\.1 \[32\]"):
        pairs("stages", "mlp", "cnn", maps=True)
    with pytest.raises(ValueError, match=r"reads the average of the last map .* but the teacher's does not"):
        pairs("pooled", "resnet18", "vgg", maps=True)
    with pytest.raises(ValueError, match="expected hidden vectors, but the student has none"):
        pairs("last", "linear", "mlp")


@pytest.mark.parametrize(
    ("student", "teacher", "maps", "own", "theirs"),
    [
        ("cnn", "resnet18", True, ["features.2", "features.5"], [f"network.layer{n}" for n in (1, 2, 3, 4)]),
        ("mlp", "cnn", False, ["layers.2", "layers.4"], ["features", "classifier.2"]),
        ("vit", "cnn", True, [f"network.blocks.{n}" for n in (2, 5, 8, 11)], ["features.2", "features.5"]),
    ],
)
def test_every_pair__is_each_stage_with_each(
    student: str, teacher: str, maps: bool, own: list[str], theirs: list[str]
) -> None:
    found = every_pair(probe(student), probe(teacher), maps=maps, pre_activation=False)
    assert [(p.student.name, p.teacher.name) for p in found] == [(s, t) for s in own for t in theirs]


def name(own: list[str], theirs: list[str], *, student: str = "cnn", teacher: str = "resnet18") -> list[Pair]:
    return named(probe(student), probe(teacher), own, theirs, pre_activation=False)


def test_named__layers_are_taken_in_the_order_given() -> None:
    found = name(["features.5", "classifier.3:input"], ["network.layer1.0.conv1", "network.fc:input"])

    assert [(p.student_shape, p.teacher_shape) for p in found] == [((64, 8, 8), (64, 8, 8)), ((128,), (512,))]


@pytest.mark.parametrize(
    ("own", "theirs", "message"),
    [
        (["features.9"], ["network.fc"], r"the student has no layer features\.9; did you mean features\.\d\?"),
        (["features.2"], ["layer1"], r"the teacher has no layer layer1; did you mean network\.layer1\?"),
        (["features.2"], [""], r"the teacher has no layer ; "),
        (["features.2"], ["network.fc", "network"], r"Expected as many layers .* but got 1 \(features\.2\) and 2"),
    ],
)
def test_named__a_mistake_lists_the_layers_there_are(own: list[str], theirs: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        name(own, theirs)


def test_named__a_layer_that_is_never_called_is_no_layer() -> None:
    with pytest.raises(ValueError, match=r"the student has no layer unused; .*one"):
        name(["unused"], ["network.fc"], student="functional")
