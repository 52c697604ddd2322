"""TF-IDF and an estimator as a teacher of texts: against scikit-learn's own, kept and found again, refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from kd_lab.errors import UserError
from kd_lab.models.common.weights import load_weights, save_weights, weights_sha256
from kd_lab.models.sklearn_text import SklearnText
from tests.models.texts import GIVEN, texts

LENGTHS = [int(n) for n in np.random.default_rng(0).integers(2, 10, 60)]
INPUTS, TARGETS = texts(*LENGTHS), torch.arange(60) % 3


def fitted(estimator: object) -> SklearnText:
    network = SklearnText(**GIVEN, estimator=estimator)
    network.fit(INPUTS, TARGETS, None)
    return network


@pytest.mark.slow
def test_sklearn_text__is_tf_idf_of_scikit_learn() -> None:
    words = [" ".join(f"w{n}" for n in row[:k].tolist()) for row, k in zip(INPUTS["input_ids"], LENGTHS, strict=True)]
    counted = TfidfVectorizer(sublinear_tf=True).fit_transform(words)
    expected = LogisticRegression().fit(counted, TARGETS.numpy()).predict_proba(counted)

    found = fitted(LogisticRegression())(**INPUTS).softmax(1)

    np.testing.assert_allclose(found.numpy(), expected, atol=1e-4)


def test_sklearn_text__comes_back_from_a_file(tmp_path: Path) -> None:
    network = fitted(None)
    save_weights(network, tmp_path / "w.safetensors")
    again = SklearnText(**GIVEN, estimator=LogisticRegression())
    load_weights(again, tmp_path / "w.safetensors")

    assert torch.equal(again(**INPUTS), network(**INPUTS))
    assert weights_sha256(again) == weights_sha256(network)


def test_sklearn_text__padding_does_not_count() -> None:
    network = fitted(LogisticRegression())
    short = network(**texts(5, 1, 3, padded_to=5))
    assert torch.equal(network(**texts(5, 1, 3, padding=7)), short)


def test_sklearn_text__weights_of_samples() -> None:
    network = SklearnText(**GIVEN, estimator=LogisticRegression())
    network.fit(INPUTS, TARGETS, torch.tensor([1.0, 1.0, 1e-9])[TARGETS])
    assert set(network(**INPUTS).argmax(1).tolist()) <= {0, 1}


def test_sklearn_text__rows_are_of_32_bits_as_liblinear_wants_them() -> None:
    counts = SklearnText(**GIVEN, estimator=LogisticRegression())._counts(INPUTS["input_ids"], INPUTS["attention_mask"])
    assert counts.indices.dtype == counts.indptr.dtype == np.int32
    assert counts.sum(1).tolist() == LENGTHS


def test_sklearn_text__not_fitted__all_classes_alike() -> None:
    logits = SklearnText(**GIVEN, estimator=LogisticRegression())(**INPUTS)
    assert logits.min() == logits.max()


def test_sklearn_text__a_class_with_fewer_texts_than_folds() -> None:
    network = SklearnText(**GIVEN)
    with pytest.raises(
        UserError, match=r"^teacher=sklearn_text: cannot be fitted .*3-fold.*LogisticRegression, C: 100"
    ):
        network.fit(INPUTS, torch.where(torch.arange(60) == 0, 2, torch.arange(60) % 2), None)


def test_sklearn_text__refuses_what_is_no_text_or_gives_no_probabilities() -> None:
    with pytest.raises(ValueError, match="of sklearn_text to be that of texts"):
        SklearnText(**GIVEN | {"input_shape": (64,)})
    with pytest.raises(ValueError, match="predict_proba, but LinearSVC gives no probabilities"):
        SklearnText(**GIVEN, estimator=LinearSVC())
