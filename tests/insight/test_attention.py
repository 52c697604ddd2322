"""Where a transformer makes its queries, keys and values, and into how many heads it splits them."""

import pytest
import torch
from torch import nn

from kd_lab.errors import UserError
from kd_lab.insight.attention import attentions, heads
from kd_lab.insight.pairing import over_tokens, propose
from kd_lab.insight.probe import Probe
from kd_lab.insight.taps import Tap, Taps
from kd_lab.models.bilstm import BiLSTM
from kd_lab.models.hf import HF
from tests.models.test_hf import BERT
from tests.models.texts import GIVEN, LENGTH, texts

pytest.importorskip("transformers")
DISTILBERT = {"model_type": "distilbert", "dim": 24, "n_layers": 3, "n_heads": 2, "hidden_dim": 24}


def bert(**changes: object) -> Probe:
    return Probe.of(HF(**GIVEN, config={**BERT, **changes}), texts(5, 9))


def test_attentions__of_bert_and_distilbert__in_the_order_of_the_blocks() -> None:
    path = "network.bert.encoder.layer.{}.attention.self"
    found = attentions(bert())
    assert [one.path for one in found[-1]] == [f"{path.format(1)}.{name}" for name in ("query", "key", "value")]
    assert len(found) == 2
    assert {one.shape for three in found for one in three} == {(16, LENGTH)}
    other = Probe.of(HF(**GIVEN, config=DISTILBERT), texts(5, 9))
    assert len(attentions(other)) == 3
    assert attentions(other)[0][0].path.endswith("layer.0.attention.q_lin")


def test_attentions__within_a_block() -> None:
    (three,) = attentions(bert(), "network.bert.encoder.layer.0")
    assert all(".layer.0." in one.path for one in three)


def test_attentions__of_what_has_none() -> None:
    with pytest.raises(
        ValueError, match=r"a linear layer each for query, key and value.* BiLSTM has none; choose teacher=hf"
    ):
        attentions(Probe.of(BiLSTM(**GIVEN), texts(5, 9)))


def test_heads__of_the_module_around_the_queries() -> None:
    probe = bert(num_attention_heads=4)
    assert heads(probe, [one.path for one in attentions(probe)[0]]) == 4
    blank = Probe.of(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)), torch.zeros(2, 3))
    with pytest.raises(UserError, match="Sequential does not tell how many heads its attention has"):
        heads(blank, ["0"])


def test_propose__the_last_attention_and_the_blocks() -> None:
    student, teacher = bert(num_hidden_layers=1), bert(num_hidden_layers=4)
    last = propose("attention", student, teacher, maps=True, pre_activation=False)
    assert [pair.teacher.path.split(".")[4:] for pair in last] == [
        ["3", "attention", "self", name] for name in ("query", "key", "value")
    ]
    two = propose("transformer", bert(), teacher, maps=True, pre_activation=False)
    assert [pair.teacher.path.split(".")[4] for pair in two] == ["1", "1", "1", "3", "3", "3"]
    assert [pair.student.path.rpartition(".")[2] for pair in two] == ["query", "key", "0", "query", "key", "1"]


def test_tokens__are_read_as_their_mean_without_the_padding() -> None:
    network = nn.ModuleDict({"one": nn.Identity()})
    (pair,) = [over_tokens(p) for p in propose("last", bert(), bert(), maps=True, pre_activation=False)]
    assert (pair.student_shape, pair.teacher_shape) == ((16,), (16,))
    assert pair.student.over_tokens
    taps = Taps(network, [Tap("one", channels_last=True, over_tokens=True)]).attach()
    given = texts(2, 4)
    said = torch.randn(2, LENGTH, 3)
    network["one"](said)

    (read,) = taps.take(given)

    torch.testing.assert_close(read, torch.stack([said[0, :2].mean(0), said[1, :4].mean(0)]))
