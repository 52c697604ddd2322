"""How answers are kept: as they are, in half the bytes, or the best classes of each."""

import pytest
import torch

from kd_lab.errors import UserError
from kd_lab.losses.kd import KD
from kd_lab.losses.sparse_kl import SparseKL
from kd_lab.teachers.answers import Answers, packed, places, size_in_bytes, unpacked
from kd_lab.teachers.form import Form
from kd_lab.types import Batch, Outputs

LOGITS = torch.randn(6, 7, generator=torch.Generator().manual_seed(0)) * 3
SAID = Outputs(LOGITS, (LOGITS[:, :3] + 1, LOGITS[:, :4].reshape(6, 2, 2)), (LOGITS - 1,))
BATCH = Batch(torch.zeros(6, 1), torch.arange(6) % 7, torch.arange(6))


def back(form: Form, said: Outputs = SAID) -> Outputs:
    return unpacked(form, packed(form, said), said.logits.shape[1])


def test_form__as_it_is__every_tensor_comes_back() -> None:
    found = back(Form())
    for one, other in zip(
        (found.logits, *found.features, *found.views), (SAID.logits, *SAID.features, *SAID.views), strict=True
    ):
        assert torch.equal(one, other)


def test_form__float16__half_the_bytes_and_float32_comes_back() -> None:
    form = Form("float16")
    assert 2 * size_in_bytes(packed(form, SAID)) == size_in_bytes(packed(Form(), SAID))
    found = back(form)
    assert found.logits.dtype == found.features[1].dtype == torch.float32
    torch.testing.assert_close(found.logits, LOGITS, rtol=1e-3, atol=1e-3)


def test_form__float16_cannot_hold_it__says_so() -> None:
    with pytest.raises(
        UserError, match=r"^teacher\.cache_dtype=float16: ends at 65504.*with 7e\+04; expected float32$"
    ):
        packed(Form("float16"), Outputs(torch.tensor([[7e4, 0.0]])))


def test_form__top_k_spread__best_probabilities_are_kept_and_the_rest_is_even() -> None:
    p = LOGITS.softmax(1)
    found = back(Form(top_k=2)).logits.softmax(1)
    best = p.topk(2, dim=1)
    torch.testing.assert_close(found.gather(1, best.indices), best.values)
    others = found.scatter(1, best.indices, 0.0)
    expected = ((1 - best.values.sum(1)) / 5)[:, None].expand(-1, 7).scatter(1, best.indices, 0.0)
    torch.testing.assert_close(others, expected)


def test_form__top_k_renormalise__the_rest_has_no_probability() -> None:
    p = LOGITS.softmax(1)
    found = back(Form(top_k=2, recovery="renormalise"))
    best = p.topk(2, dim=1)
    expected = torch.zeros(6, 7).scatter(1, best.indices, best.values / best.values.sum(1, keepdim=True))
    torch.testing.assert_close(found.logits.softmax(1), expected)
    assert torch.isfinite(KD(temperature=1.0)(Outputs(torch.zeros(6, 7)), found, BATCH))


@pytest.mark.parametrize("k", [7, 9])
def test_form__top_k_of_all_classes__the_same_probabilities(k: int) -> None:
    torch.testing.assert_close(back(Form(top_k=k)).logits.softmax(1), LOGITS.softmax(1))


def test_form__top_k_feeds_a_sparse_loss_exactly() -> None:
    """It sees the k best classes and the rest as one: all that was kept."""
    student, loss = Outputs(LOGITS.flip(0)), SparseKL(k=2)
    torch.testing.assert_close(loss(student, back(Form(top_k=2)), BATCH), loss(student, SAID, BATCH))


def test_form__a_sure_teacher__nothing_is_left_and_nothing_is_nan() -> None:
    sure = Outputs(torch.tensor([[100.0, 0.0, 0.0, 0.0]]))
    for recovery in ("spread", "renormalise"):
        found = back(Form(top_k=1, recovery=recovery), sure).logits  # type: ignore[arg-type]
        assert not found.isnan().any()
        torch.testing.assert_close(found.softmax(1), torch.tensor([[1.0, 0.0, 0.0, 0.0]]))


def test_answers__come_in_any_order_and_are_found_by_row() -> None:
    rows = torch.tensor([4, 9, 2, 7])
    answers = Answers(Form(), places(rows, 10), 4, 7)
    answers.add(rows[[2, 0]], packed(Form(), Outputs(LOGITS[[2, 0]])))
    assert answers.left == 2
    answers.add(rows[[3, 1]], packed(Form(), Outputs(LOGITS[[3, 1]])))
    assert answers.left == 0
    assert torch.equal(answers(torch.tensor([7, 4])).logits, LOGITS[[3, 0]])


def test_places__rows_that_are_not_taught_have_none() -> None:
    assert places(torch.tensor([3, 1]), 5).tolist() == [-1, 1, -1, 0, -1]
