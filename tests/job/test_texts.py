"""Jobs on texts: networks are told of the tokens, losses of layers know padding, and what does not fit is said."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from kd_lab.errors import UserError
from kd_lab.inputs import mask_of
from kd_lab.job.doctor import pulls
from kd_lab.job.pyfunc import Description
from kd_lab.job.recipes import described
from tests.job.composed import plan

pytest.importorskip("transformers")
BERT = "{model_type: bert, hidden_size: 16, num_hidden_layers: %d, num_attention_heads: 2, intermediate_size: 24%s}"
SMALL = ["student.recipe.batch_size=8", "teacher.recipe.batch_size=8", "baseline.recipe.batch_size=8"]


@pytest.fixture(autouse=True)
def texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    rows = [f"{'good' if n % 2 else 'bad'} film{' indeed' * (n % 5)},{'pos' if n % 2 else 'neg'}" for n in range(40)]
    (tmp_path / "my.csv").write_text("\n".join(["text,label", *rows]))


def transformers(teacher: int = 2, student: int = 1, more: str = "") -> list[str]:
    return [
        *("teacher=hf", f"teacher.config={BERT % (teacher, '')}"),
        *("student=hf", f"student.config={BERT % (student, more)}"),
    ]


@pytest.mark.parametrize("loss", ["patient", "minilm", "tinybert", "at", "rkd", "fitnet", "sp", "kd"])
def test_layers_of_transformers__teach(loss: str) -> None:
    made = plan("dataset=text", "dataset.path=my.csv", *transformers(), f"loss={loss}", *SMALL)
    assert made.built is not None

    (pull,) = pulls(made, made.built.bound, made.built.student, made.built.teacher)[-1:]

    assert np.isfinite(pull.value)
    assert pull.gradient_norm > 0


@pytest.mark.parametrize("student", ["bilstm", "text_cnn", "bag_of_embeddings"])
def test_layers__of_other_networks_of_texts(student: str) -> None:
    made = plan("dataset=text", "dataset.path=my.csv", "teacher=bilstm", f"student={student}", "loss=rkd", *SMALL)
    assert made.built is not None
    assert pulls(made, made.built.bound, made.built.student, made.built.teacher)[-1].gradient_norm > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            ["loss=cwd"],
            "loss.terms.cwd: it compares positions, and knows nothing of the padding behind texts; choose at",
        ),
        (["student=bilstm", "loss=minilm"], "loss.terms.minilm: expected a transformer .* BiLSTM has none"),
        (
            ["loss=tinybert", "student.config.num_attention_heads=4"],
            "loss.terms.tinybert: Expected as many attention heads .*, but got 4 and 2",
        ),
        (
            ["+student.config.vocab_size=4"],
            "student.vocab_size=8: expected at most 4, the embeddings that this network has",
        ),
        (["dataset.tokenizer=nowhere/to/be/found"], "dataset.tokenizer=nowhere/to/be/found: there is no tokenizer"),
        (["teacher=sklearn"], "teacher: the network cannot take this dataset's samples"),
    ],
)
def test_what_does_not_fit__is_said(changes: list[str], message: str) -> None:
    chosen = transformers()
    if "student=bilstm" in changes:
        chosen = chosen[:2]
    if "teacher=sklearn" in changes:
        chosen = chosen[2:]
    with pytest.raises(UserError, match=f"^{message}"):
        plan("dataset=text", "dataset.path=my.csv", *chosen, *SMALL, *changes)


def kept(folder: Path, **changes: object) -> Path:
    """What a run of a network of texts keeps to build it again."""
    shape = {"input_ids": [9], "attention_mask": [9]}
    said = {
        "node": {"_target_": "kd_lab.models.bilstm.BiLSTM", "width": 4, "hidden": 5},
        "num_classes": 3,
        "input_shape": shape,
        "input_dtype": dict.fromkeys(shape, "int64"),
        "tokens": {"vocab_size": 30, "padding": 0},
    }
    path = folder / "network.json"
    path.write_text(json.dumps(said | changes))
    return path


def test_kept_network__is_built_again_for_its_tokens(tmp_path: Path) -> None:
    network = Description.of_file(kept(tmp_path)).build()
    assert network.get_submodule("embedding").num_embeddings == 30
    ids = np.zeros((2, 9), np.int64)
    model = Description.of_file(kept(tmp_path)).model(network)
    assert model.predict({"input_ids": ids, "attention_mask": ids + 1}).shape == (2, 3)


@pytest.mark.parametrize(
    "tokens", [{"vocab_size": "30", "padding": 0}, {"vocab_size": 30}, {"vocab_size": 30, "padding": -1}]
)
def test_kept_network__tokens_that_are_none(tokens: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"network\.json"):
        Description.of_file(kept(tmp_path, tokens=tokens))


def test_by_length__reaches_the_feed_of_each_and_is_told() -> None:
    chosen = ["student.recipe.by_length=true", "baseline.recipe.by_length=false", "student.recipe.steps=5"]
    made = plan("dataset=text", "dataset.path=my.csv", "teacher=bilstm", "student=text_cnn", *SMALL, *chosen)
    own = made.recipe("student.recipe", made.settings.student.recipe, len(made.student_rows()))
    texts = torch.stack([mask_of(batch.inputs).sum(1) for batch in made.feed(made.student_rows(), own, seed=0)])
    assert (texts.amax(1) - texts.amin(1)).max() <= 2  # of 4 lengths up to 8 in 5 steps of 8
    assert not made.baseline_recipe().by_length
    assert "student: a step has texts of like length, so that less of it is padding" in described(made)


def test_by_length__of_what_has_none() -> None:
    with pytest.raises(UserError, match=r"^student\.recipe\.by_length=true: the samples of dataset synthetic are no t"):
        plan("dataset=synthetic", "teacher=mlp", "student.recipe.by_length=true")


READERS = "kd_lab.datasets.common.readers"


@pytest.mark.parametrize(
    ("reader", "message"),
    [
        (
            {"_target_": "os.system"},
            r"_target_=os\.system: a reader of files .* from classes of kd_lab\.\S+\.readers only",
        ),
        ({"_target_": f"{READERS}.texts.Pretrained", "name": "x"}, r"_target_=\S+Pretrained: a reader of files"),
        ({"_target_": f"{READERS}.texts.Texts", "text": 1}, r"text=1: expected a valid string"),
        ({"_target_": f"{READERS}.series.SeriesOf", "length": 1, "missing": "refuse"}, r""),
    ],
)
def test_kept_network__a_reader_that_is_none(reader: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"^network\.reader\.?:?{message}"):
        Description.of_file(kept(tmp_path, reader=reader)).model(nn.Identity())


def test_told__are_classes_tokens_and_what_is_cut() -> None:
    made = plan("dataset=text", "dataset.path=my.csv", "teacher=bilstm", "student=bilstm", *SMALL)
    assert made.data.told == ("text: classes neg, pos; 8 tokens (words of the training texts); 40 texts",)
    given = {"num_classes": 2, "input_shape": made.data.input_shape, "class_names": ("neg", "pos")}
    assert made.data.given == given | {"vocab_size": 8, "padding": 0, "tokenizer": ""}
