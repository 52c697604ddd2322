"""Annealing: the factor of the teacher's logits, the two phases, and which losses it stands for."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import kd_lab
from kd_lab.errors import UserError
from kd_lab.losses.kd import KD
from kd_lab.strategies.annealing import Annealed, Annealing
from kd_lab.training.objective import Objective, Term
from kd_lab.types import UNLABELLED
from tests.strategies.toys import batch, training


def step(**settings: object) -> Annealed:
    made = Annealing(**settings).step(training(Objective({"kd": Term(KD())}, 0.1)))  # type: ignore[arg-type]
    assert isinstance(made, Annealed)
    return made


def test_step__temperature_falls_by_one_to_1_within_the_first_phase() -> None:
    annealed, told = step(max_temperature=4, share=0.5), []
    for number in range(16):
        annealed.at_step(number, 16)
        told.append(tuple(annealed.readings().values()))
    assert told == [(4, 0.25)] * 2 + [(3, 0.5)] * 2 + [(2, 0.75)] * 2 + [(1, 1.0)] * 10


@pytest.mark.parametrize("centre", [False, True])
def test_step__first_phase_is_the_mean_square_to_the_scaled_logits(centre: bool) -> None:
    annealed, seen = step(max_temperature=4, share=0.5, centre=centre), batch()
    annealed.at_step(2, 16)
    found = annealed(seen)
    own = annealed.network(seen.inputs).detach().numpy()
    theirs = annealed.teacher(seen).logits.numpy()  # type: ignore[misc]
    difference = own - 0.5 * theirs
    difference -= difference.mean(axis=1, keepdims=True) if centre else 0
    assert float(found.total.detach()) == pytest.approx(np.square(difference).mean(), rel=1e-5)
    (gradient,) = torch.autograd.grad(found.total, [annealed.network.layer.weight])  # type: ignore[union-attr]
    expected = 2 * difference.T @ seen.inputs.numpy() / difference.size  # type: ignore[union-attr]
    assert np.allclose(gradient.numpy(), expected, atol=1e-6)


def test_step__second_phase_is_the_cross_entropy_with_the_labels() -> None:
    annealed, seen = step(share=0.5), batch()
    annealed.at_step(8, 16)
    known = seen.targets != UNLABELLED
    expected = F.cross_entropy(annealed.network(seen.inputs)[known], seen.targets[known])
    assert float(annealed(seen).total.detach()) == pytest.approx(float(expected.detach()), rel=1e-6)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"max_temperature": 0}, "`max_temperature` to be 1 or more, but got 0"),
        ({"share": 0.0}, r"`share` to be in \(0, 1\], but got 0.0"),
    ],
)
def test_annealing__bad_settings(settings: dict[str, float], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Annealing(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("loss", ["dkd", "[kd,hard_label]"])
def test_job__another_loss_has_no_meaning(loss: str, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    named = loss.strip("[]").replace(",", r"\+")
    with pytest.raises(UserError, match=rf"^loss={named}: strategy=annealing has terms of its own in its place; expe"):
        kd_lab.distil("strategy=annealing", f"loss={loss}", quiet=True)
    assert not list(tmp_path.iterdir())
