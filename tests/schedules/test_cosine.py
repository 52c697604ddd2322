import math

import pytest
import torch

from kd_lab.schedules.cosine import cosine


def test_cosine__table() -> None:
    """cos(0), cos(45), cos(90), cos(135) and cos(180) degrees."""
    half = math.sqrt(0.5)
    rates = [cosine(step, base=2.0, total_steps=4) for step in range(5)]

    assert rates == pytest.approx([2.0, 1 + half, 1.0, 1 - half, 0.0], abs=1e-15)


def test_cosine__table_with_warmup_and_final_lr() -> None:
    rates = [cosine(step, base=1.0, total_steps=6, warmup_steps=2, final=0.2) for step in range(7)]

    half = math.sqrt(0.5)
    after = [0.2 + 0.4 * (1 + c) for c in (1.0, half, 0.0, -half, -1.0)]
    assert rates == pytest.approx([1 / 3, 2 / 3, *after])


def test_cosine__is_pytorchs_cosine() -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=50, eta_min=0.01)
    theirs = []
    for _ in range(50):
        theirs.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()

    assert [cosine(s, base=0.1, total_steps=50, final=0.01) for s in range(50)] == pytest.approx(theirs, rel=1e-9)


@pytest.mark.parametrize("final", [-0.1, 1.5, math.nan])
def test_cosine__bad_final_lr_is_refused(final: float) -> None:
    message = rf"`final` to be >= 0 and <= 1\.0 \(`base`\), but got {final}\."
    with pytest.raises(ValueError, match=message):
        cosine(0, base=1.0, total_steps=4, final=final)


def test_cosine__without_final_ends_at_0() -> None:
    assert cosine(4, base=2.0, total_steps=4, final=None) == cosine(4, base=2.0, total_steps=4, final=0.0) == 0
