"""Networks of transformers: new from a config, from a folder, and what is said where they do not fit."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from kd_lab.models.common.weights import load_weights
from kd_lab.models.hf import HF
from tests.models.texts import GIVEN, VOCAB, check_padding_does_not_count, texts

pytest.importorskip("transformers")
BERT = {
    "model_type": "bert",
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 12,
}
KINDS: dict[str, dict[str, Any]] = {
    "bert": BERT,
    "distilbert": {"model_type": "distilbert", "dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 24},
    "roberta": {**BERT, "model_type": "roberta", "max_position_embeddings": 14},
    "gpt2": {"model_type": "gpt2", "n_embd": 16, "n_layer": 1, "n_head": 2},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A network as transformers saves it, with a tokenizer of its own."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    network = HF(**GIVEN, config=BERT)
    network.network.config.id2label = {0: "neg", 1: "neutral", 2: "pos"}
    network.network.save_pretrained(tmp_path / "bert")
    words = {"[PAD]": 0, "[UNK]": 1, **{f"w{n}": n for n in range(2, VOCAB)}}
    made = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=made, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(
        tmp_path / "bert"
    )
    return tmp_path / "bert"


@pytest.mark.parametrize("kind", KINDS)
def test_hf__new_from_a_config__padding_does_not_count(kind: str) -> None:
    torch.manual_seed(0)
    network = HF(**GIVEN, config=KINDS[kind])

    assert network(**texts(5, 9)).shape == (2, 3)
    # A decoder finds the last word by the token of the padding.
    check_padding_does_not_count(network, tolerance=1e-5, token=0 if kind == "gpt2" else 7)


def test_hf__follows_from_the_seed_and_has_the_vocabulary_of_the_data() -> None:
    def made(seed: int) -> HF:
        torch.manual_seed(seed)
        return HF(**GIVEN, config=BERT).eval()

    assert torch.equal(made(1)(**texts(5)), made(1)(**texts(5)))
    assert not torch.equal(made(1)(**texts(5)), made(2)(**texts(5)))
    assert made(1).network.get_input_embeddings().num_embeddings == VOCAB


def test_hf__from_a_folder__blank_or_with_its_weights(folder: Path) -> None:
    one = HF(**GIVEN, name=str(folder), pretrained=True, tokenizer=str(folder)).eval()
    other = HF(**GIVEN, name=str(folder), pretrained=True).eval()
    blank = HF(**GIVEN, name=str(folder)).eval()

    assert torch.equal(one(**texts(5)), other(**texts(5)))
    assert not torch.equal(one(**texts(5)), blank(**texts(5)))
    load_weights(blank, folder / "model.safetensors")
    torch.testing.assert_close(one(**texts(5)), blank(**texts(5)))


def test_hf__for_other_classes__the_classifier_alone_is_new(folder: Path) -> None:
    network = HF(**GIVEN | {"num_classes": 5}, name=str(folder), pretrained=True)
    own = HF(**GIVEN, name=str(folder), pretrained=True)

    assert network(**texts(5)).shape == (1, 5)
    found, kept = network.state_dict(), own.state_dict()
    assert [k for k in kept if found[k].shape != kept[k].shape or not torch.equal(found[k], kept[k])] == [
        "network.classifier.weight",
        "network.classifier.bias",
    ]


def test_hf__its_classes_in_another_order(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"set dataset\.classes=\[Neg,Neutral,Pos\]"):
        HF(**GIVEN, name=str(folder), pretrained=True, class_names=("Pos", "Neg", "Neutral"))
    HF(**GIVEN, name=str(folder), pretrained=True, class_names=("Neg", "Neutral", "Pos"))
    HF(**GIVEN, name=str(folder), pretrained=True, class_names=("a", "b", "c"))


def test_hf__weights_that_know_other_tokens(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"words of the training texts: set dataset\.tokenizer={folder}"):
        HF(**GIVEN, name=str(folder), pretrained=True, tokenizer="")
    other = tmp_path / "other"
    other.mkdir()
    for file in folder.iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    HF(**GIVEN, name=str(folder), pretrained=True, tokenizer=str(other))
    saved = json.loads((other / "tokenizer.json").read_text())
    saved["model"]["vocab"] |= {"w2": 3, "w3": 2}
    (other / "tokenizer.json").write_text(json.dumps(saved))
    with pytest.raises(ValueError, match=f"but got {other}, which numbers its tokens otherwise"):
        HF(**GIVEN, name=str(folder), pretrained=True, tokenizer=str(other))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "Expected `name` of a network or its `config`, one of them"),
        ({"name": "x", "config": BERT}, "one of them"),
        ({"config": BERT, "pretrained": True}, "a config has none"),
        ({"config": {"hidden_size": 16}}, "to say its model_type"),
        ({"config": {"model_type": "bart of mine"}}, "Expected `config` to be one of transformers"),
        ({"config": {**BERT, "num_attention_heads": 3}}, r"bert cannot be built \(.*16.*3"),
        ({"config": {**BERT, "vocab_size": 20}}, "at most 20, the embeddings that this network has, but got 30"),
        ({"config": {**BERT, "max_position_embeddings": 8}}, r"fails on texts of 9 tokens .*dataset.length below 8"),
        ({"name": "no/such/folder"}, "but got no/such/folder"),
        ({"config": BERT, "input_shape": (3, 8, 8)}, "of hf to be that of texts"),
    ],
)
def test_hf__refuses(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        HF(**{**GIVEN, **changes})
