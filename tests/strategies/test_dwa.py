"""Dynamic weight average against its equation."""

import numpy as np
import pytest

from kd_lab.strategies.dwa import DWA
from tests.strategies.toy import batches, check_strategy_step, trained, training
from tests.training.toys import kd


def test_step__keeps_the_contract() -> None:
    check_strategy_step(DWA(every=2))


def test_weights__follow_from_the_means_of_the_last_two_epochs() -> None:
    seen = list(batches())
    step = DWA(temperature=1.5).step(training(kd(0.9, 0.1), steps_per_epoch=4))
    found = trained(step, seen[:9])
    known = [float((batch.targets >= 0).sum()) for batch in seen]
    means = []
    for epoch in (slice(0, 4), slice(4, 8)):
        hard = np.average([float(one.terms["hard"]) for one in found[epoch]], weights=known[epoch])
        soft = np.average(
            [float(one.terms["kd"]) for one in found[epoch]], weights=[len(b.targets) for b in seen[epoch]]
        )
        means.append(np.array([hard, soft]))
    powers = np.exp(means[1] / means[0] / 1.5)
    expected = 2 * powers / powers.sum() * [0.1, 0.9]
    assert [*step.readings().values()] == pytest.approx([expected[1], expected[0]], rel=1e-5)
    assert [float(one.total) for one in found[:8]] == pytest.approx(
        [0.1 * float(one.terms["hard"]) + 0.9 * float(one.terms["kd"]) for one in found[:8]]
    )
    last = found[8]
    assert float(last.total) == pytest.approx(
        expected[0] * float(last.terms["hard"]) + expected[1] * float(last.terms["kd"]), rel=1e-5
    )


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [({"temperature": 0.0}, r"`temperature` to be > 0"), ({"every": 0}, r"`every` to be >= 1, but got 0")],
)
def test_dwa__bad_settings(settings: dict, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        DWA(**settings)
