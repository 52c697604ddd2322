import copy
import pickle
from dataclasses import asdict
from typing import Any

import pytest
import torch
from torch import nn

from kd_lab.insight.probe import Probe
from kd_lab.insight.stages import embedding, pooled
from kd_lab.measures.cost import macs
from kd_lab.models.cnn import CNN
from kd_lab.models.common.grafted import Grafted, Projector
from kd_lab.models.mlp import MLP
from kd_lab.models.timm import Timm


def grafted(**changes: Any) -> Grafted:
    """An MLP 64-32-10 that answers through a classifier of 12 features."""
    torch.manual_seed(0)
    student = MLP(10, (64,), widths=[32])
    settings: dict[str, Any] = {
        "tap": asdict(embedding(Probe.of(student, torch.randn(2, 64)))[0]),
        "own_head": "layers.3",
        "teacher_layer": "fc:input",
        "student_shape": (32,),
        "teacher_shape": (12,),
        "head_bias": True,
        "factor": 2.0,
    }
    return Grafted(student, 10, **(settings | changes))


def on_maps() -> tuple[Grafted, nn.Module]:
    torch.manual_seed(0)
    student = Timm(10, (3, 32, 32), name="resnet18")
    layer = pooled(Probe.of(student, torch.randn(2, 3, 32, 32)))
    assert layer is not None
    made = grafted_from(student, asdict(layer.tap), "network.fc", layer.shape, (24, 1, 1))
    return made, student


def grafted_from(student: nn.Module, tap: dict[str, Any], head: str, own: Any, theirs: Any) -> Grafted:
    return Grafted(
        student,
        10,
        tap=tap,
        own_head=head,
        teacher_layer="layer4",
        student_shape=own,
        teacher_shape=theirs,
        head_bias=False,
        factor=2.0,
    )


def test_grafted__answers_through_the_adopted_classifier() -> None:
    network, classifier, x = grafted().eval(), nn.Linear(12, 10), torch.randn(3, 64)
    network.adopt(classifier)

    hidden = network.student.layers[:3](x)

    torch.testing.assert_close(network(x), classifier(network.projector(hidden)))


def test_grafted__the_classifier_is_frozen_and_the_students_own_is_gone() -> None:
    network = grafted()

    assert not any(p.requires_grad for p in network.head.parameters())
    assert isinstance(network.student.layers[3], nn.Identity)
    inner = 12 // 2
    body, head = 64 * 32 + 32, 12 * 10 + 10
    projector = 32 * inner + inner * inner + inner * 12 + 2 * (inner + inner + 12)  # BatchNorm: scale and shift
    assert sum(p.numel() for p in network.parameters()) == body + projector + head


def test_grafted__its_projector_and_classifier_are_counted_in_the_macs() -> None:
    found = next(iter(macs(grafted(), torch.zeros(1, 64)).values()))

    assert found == 64 * 32 + 32 * 6 + 6 * 6 + 6 * 12 + 12 * 10


def test_grafted__a_map_is_averaged_after_the_projector() -> None:
    network, _ = on_maps()
    network.eval()
    x = torch.randn(2, 3, 64, 64)  # twice the probed size: a map of 2x2

    logits = network(x)
    feature = network.student.network.forward_features(x)

    assert feature.shape == (2, 512, 2, 2)
    torch.testing.assert_close(logits, network.head(network.projector(feature).mean((2, 3))))


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda n: pickle.loads(pickle.dumps(n))], ids=["deepcopy", "pickle"])
def test_grafted__a_copy_answers_for_itself(copied: Any) -> None:
    network, x = grafted().eval(), torch.randn(3, 64)
    expected = network(x)
    twin = copied(network)
    with torch.no_grad():
        network.student.layers[1].weight.zero_()

    torch.testing.assert_close(twin(x), expected)
    assert not torch.allclose(network(x), expected)


def test_grafted__state_dict_brings_it_back_from_its_node() -> None:
    """The node is JSON: lists for tuples, a dict for the tap."""
    first, x = grafted().eval(), torch.randn(3, 64)
    expected = first(x)
    again = grafted(student_shape=[32], teacher_shape=[12]).eval()
    again.load_state_dict(first.state_dict())

    torch.testing.assert_close(again(x), expected)


@pytest.mark.parametrize(
    ("own", "theirs", "said"),
    [
        ((5, 8, 8), (7, 4, 4), (7, 4, 4)),
        ((5, 4, 4), (7, 4, 4), (7, 4, 4)),
        ((5, 2, 2), (7, 4, 4), (7, 2, 2)),
        ((5, 9), (7, 3), (7, 3)),
        ((5,), (7,), (7,)),
    ],
)
def test_projector__gives_the_teachers_channels_at_the_smaller_resolution(
    own: tuple[int, ...], theirs: tuple[int, ...], said: tuple[int, ...]
) -> None:
    assert Projector(own, theirs, factor=2.0)(torch.randn(2, *own)).shape == (2, *said)


@pytest.mark.parametrize(("own", "theirs"), [((5,), (7, 4, 4)), ((5, 8), (7, 4, 4))])
def test_projector__a_map_and_a_vector_are_refused(own: tuple[int, ...], theirs: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="Expected the layer of the student to have as many axes as the teacher's"):
        Projector(own, theirs, factor=2.0)


def test_grafted__on_a_cnn_with_a_hidden_layer_the_vector_is_taken() -> None:
    student = CNN(10, (1, 8, 8), channels=[4, 8])
    tap, shape = embedding(Probe.of(student, torch.randn(2, 1, 8, 8)))
    network = grafted_from(student, asdict(tap), "classifier.3", shape, (12,))

    assert network(torch.randn(2, 1, 8, 8)).shape == (2, 10)
