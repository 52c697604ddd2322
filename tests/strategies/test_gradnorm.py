"""GradNorm against its equations, and on a toy of two terms of unlike sizes."""

import pytest
import torch

from kd_lab.strategies.gradnorm import GradNorm, Normed
from tests.strategies.toy import batches, check_strategy_step, trained, training
from tests.strategies.trainings import parties
from tests.training.toys import Linear, Plain, kd, toy_data, toy_recipe


def test_step__keeps_the_contract() -> None:
    check_strategy_step(GradNorm())


def test_gradient_of_the_weights__follows_from_the_equation() -> None:
    step = GradNorm(exponent=1.5).step(training())
    assert isinstance(step, Normed)
    with torch.no_grad():
        step.learned.values.copy_(torch.tensor([0.3, -0.2]))
    norms, fallen = torch.tensor([2.0, 0.5]), torch.tensor([0.9, 0.4])
    w = 2 * step.learned.values.detach().softmax(0)
    wanted = (w * norms).mean() * (fallen / fallen.mean()) ** 1.5
    by_weight = torch.sign(w * norms - wanted) * norms
    torch.testing.assert_close(step._gradient(norms, fallen), w * (by_weight - (by_weight * w).mean()))


def test_norms__are_those_of_the_last_layer_that_all_terms_reach() -> None:
    own = training(kd(0.9, 0.1), network=Plain(0))
    step = GradNorm().step(own)
    assert isinstance(step, Normed)
    terms = step(next(batches())).terms
    last = own.network.layers[2].weight
    expected = [torch.autograd.grad(terms[name], last, retain_graph=True)[0].norm() for name in ("hard", "kd")]
    torch.testing.assert_close(step._norms([terms["hard"], terms["kd"]]), torch.stack(expected))


def test_weights__make_unlike_gradients_alike() -> None:
    """With exponent 0 the weighted norms end equal, so a term of 20 times the weight ends with a small factor."""
    data = toy_data(48)
    own = training(kd(20.0, 1.0), data=data, network=Linear(), steps=150)
    step = GradNorm(exponent=0.0, learning_rate=0.05).step(own)
    assert isinstance(step, Normed)
    seen = list(batches(data, 150))
    trained(step, seen, rate=0.0)
    step.attach(torch.device("cpu"))
    terms = step(seen[0]).terms
    norms = step._norms([terms["hard"], 20.0 * terms["kd"]])
    factors = torch.tensor([step.readings()["hard_weight"], step.readings()["kd_weight"] / 20])
    assert float(norms[1] / norms[0]) > 5
    assert float((factors * norms)[1] / (factors * norms)[0]) == pytest.approx(1.0, abs=0.5)


def test_gradnorm__bad_settings() -> None:
    with pytest.raises(ValueError, match=r"`exponent` to be a finite number >= 0, but got -1"):
        GradNorm(exponent=-1.0)


def test_check__a_compiled_student_is_refused() -> None:
    """torch ends with `compiled with non-empty donated buffers` there."""
    GradNorm().check(parties(Plain(), Plain(1), kd(), recipe=toy_recipe()))
    with pytest.raises(ValueError, match=r"^each term has a backward pass .* expected student\.recipe\.compile=false"):
        GradNorm().check(parties(Plain(), Plain(1), kd(), recipe=toy_recipe(compile=True)))
