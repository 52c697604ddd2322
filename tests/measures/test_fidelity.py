import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kd_lab import names
from kd_lab.measures.fidelity import fidelity
from tests.reference import measures_numpy as reference


@pytest.mark.slow
@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 10_000), samples=st.integers(1, 40), classes=st.sampled_from([2, 5, 12]))
def test_fidelity__equals_the_naive_version(seed, samples, classes):
    generator = torch.Generator().manual_seed(seed)
    student, teacher = torch.randn(2, samples, classes, generator=generator) * 3
    targets = torch.randint(classes, (samples,), generator=generator)
    s, t, y = student.double().tolist(), teacher.double().tolist(), targets.tolist()
    expected = {
        names.TEST_AGREEMENT_TOP1: reference.agreement(s, t),
        names.TEST_KL_NATS: reference.kl(t, s),
        names.TEST_AGREEMENT_TEACHER_WRONG: reference.agreement_where_teacher_wrong(s, t, y),
    }
    expected = {k: v for k, v in expected.items() if v is not None}
    assert fidelity(student, teacher, targets) == pytest.approx(expected, rel=1e-10, abs=1e-12)


def test_fidelity__a_copy_agrees_and_has_no_divergence():
    logits = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    found = fidelity(logits, logits + 5.0, logits.argmin(dim=1))
    assert found[names.TEST_AGREEMENT_TOP1] == found[names.TEST_AGREEMENT_TEACHER_WRONG] == 1.0
    assert found[names.TEST_KL_NATS] == pytest.approx(0.0, abs=1e-6)


def test_fidelity__no_wrong_teacher_no_value():
    logits = torch.eye(3)
    assert names.TEST_AGREEMENT_TEACHER_WRONG not in fidelity(logits, logits, torch.arange(3))


def test_fidelity__kl_is_teacher_to_student():
    teacher = torch.log(torch.tensor([[0.5, 0.5]], dtype=torch.float64))
    student = torch.log(torch.tensor([[0.9, 0.1]], dtype=torch.float64))
    # 0.5 ln(0.5/0.9) + 0.5 ln(0.5/0.1) = 0.5108; the other way round it would be 0.3681.
    assert fidelity(student, teacher, torch.tensor([0]))[names.TEST_KL_NATS] == pytest.approx(0.5108256, abs=1e-6)


def test_fidelity__extreme_logits_stay_finite():
    student, teacher = torch.tensor([[1e4, -1e4]]), torch.tensor([[-1e4, 1e4]])
    assert fidelity(student, teacher, torch.tensor([0]))[names.TEST_KL_NATS] == pytest.approx(2e4)


def test_fidelity__shapes_must_match():
    with pytest.raises(ValueError, match=r"of one shape, but got \(2, 3\) and \(2, 4\)"):
        fidelity(torch.zeros(2, 3), torch.zeros(2, 4), torch.tensor([0, 1]))
