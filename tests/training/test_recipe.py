"""What a recipe does to a training: several batches to a step, mixed samples, which weights decay."""

import functools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from kd_lab import names
from kd_lab.job.devices import Devices
from kd_lab.losses.kd import KD
from kd_lab.losses.label_smoothing import LabelSmoothing
from kd_lab.mixing.mixup import Mixup
from kd_lab.training.objective import Objective, Term
from kd_lab.training.recipe import Recipe
from tests.training.toys import Lines, Noisy, Plain, Projected, Spy, kd, toy_data, toy_recipe, train, weights

UNEQUAL = {"labelled": 9, "unlabelled": 14}
"""23 points: the last step of an epoch is short, and most batches have another number of labels than the next."""


def terms(mix: Any) -> Objective:
    """A mean over all samples, the hard labels, and where these are not mixed one more mean over labelled samples."""
    soft = {"kd": Term(KD(temperature=2.0), 0.5), "label_smoothing": Term(LabelSmoothing(), 0.4)}
    return Objective({"kd": soft["kd"]} if mix else soft, 0.3)


def trained(recipe: Recipe, **more: Any) -> tuple[Plain, Lines]:
    student, sink = Plain(), Lines()
    train(
        student,
        data=toy_data(**UNEQUAL),
        teacher=Plain(1),
        objective=terms(recipe.mix),
        recipe=recipe,
        sink=sink,
        **more,
    )
    return student, sink


def check_close(one: nn.Module, other: nn.Module, rtol: float = 1e-4, atol: float = 1e-6) -> None:
    start = weights(Plain())
    for name, value in weights(one).items():
        assert not torch.equal(value, start[name])
        torch.testing.assert_close(value, weights(other)[name], rtol=rtol, atol=atol)


@pytest.mark.parametrize("mix", [None, Mixup()], ids=["plain", "mixed"])
@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam])
@pytest.mark.parametrize("watched", [False, True], ids=["by epoch", "through Lightning"])
def test_accumulate__trains_the_weights_of_one_large_batch(optimizer: Any, mix: Any, watched: bool) -> None:
    large = toy_recipe(functools.partial(optimizer, lr=0.05), steps=7, batch_size=12, mix=mix, clip_norm=1.0)
    callbacks = {"mine": {"_target_": "pytorch_lightning.Callback"}} if watched else {}
    one, curves = trained(large)
    for batch_size, accumulate in ((4, 3), (6, 2), (1, 12)):
        small = replace(large, batch_size=batch_size, accumulate=accumulate)
        other, sink = trained(small, callbacks=callbacks)
        check_close(one, other)
        assert [step for step, _ in sink.points] == [step for step, _ in curves.points] == [1, 2, 3, 4, 5, 6, 7]
        for (_, values), (_, expected) in zip(sink.points, curves.points, strict=True):
            assert values == pytest.approx(expected, rel=1e-3, abs=1e-6)


def test_accumulate__steps_and_samples_are_counted_truthfully() -> None:
    student, sink, spy = Plain(), Lines(), Spy()
    recipe = toy_recipe(spy, steps=5, batch_size=4, accumulate=3)
    data = toy_data(**UNEQUAL, validation=6)
    measured = train(student, data=data, teacher=Plain(1), recipe=recipe, sink=sink, every=2)
    assert spy.steps == measured[names.COST_TRAIN_STEPS] == 5
    samples = measured[names.COST_TRAIN_SAMPLES_PER_S] * measured[names.COST_TRAIN_WALL_S]
    assert samples == pytest.approx(23 + 23 + 12)
    assert list(sink.curve(names.TRAIN_LOSS_TOTAL)) == [2, 4, 5]
    assert list(sink.curve(names.VAL_ACCURACY_TOP1)) == [2, 4, 5]


def test_accumulate__a_window_is_the_mean_over_its_samples() -> None:
    """The same points, however many batches a step and steps a window have."""
    for every in (1, 3, 100):
        points = []
        for batch_size, accumulate in ((12, 1), (4, 3)):
            _, sink = trained(toy_recipe(steps=7, batch_size=batch_size, accumulate=accumulate), every=every)
            points.append(sink.points)
        for (one, expected), (other, values) in zip(*points, strict=True):
            assert one == other
            assert values == pytest.approx(expected, rel=1e-4)


@pytest.mark.slow
def test_accumulate__in_two_processes_too() -> None:
    one, _ = trained(toy_recipe(steps=5, batch_size=12, mix=Mixup()))
    two = Devices("cpu", 2, "ddp_spawn")
    other, _ = trained(toy_recipe(steps=5, batch_size=6, accumulate=2, mix=Mixup()), devices=two)
    check_close(one, other)


def test_mix__both_networks_see_the_same_mixed_samples() -> None:
    seen: dict[str, list[torch.Tensor]] = {"student": [], "teacher": []}
    networks = {"student": Plain(), "teacher": Plain(1)}
    for name, network in networks.items():
        network.register_forward_hook(lambda _m, args, _o, name=name: seen[name].append(args[0].clone()))
    data = toy_data()
    train(networks["student"], data=data, teacher=networks["teacher"], objective=kd(), recipe=toy_recipe(mix=Mixup()))
    assert len(seen["student"]) == 6
    assert all(torch.equal(a, b) for a, b in zip(seen["student"], seen["teacher"], strict=True))
    rows = {tuple(row) for row in data.source.inputs.tolist()}  # type: ignore[attr-defined]
    assert all(tuple(row) not in rows for batch in seen["student"] for row in batch.tolist())


def test_mix__the_same_seed_gives_the_same_weights() -> None:
    runs = [weights(trained(toy_recipe(mix=Mixup()), seed=seed)[0]) for seed in (3, 3, 4)]
    assert all(torch.equal(runs[0][name], runs[1][name]) for name in runs[0])
    assert not all(torch.equal(runs[0][name], runs[2][name]) for name in runs[0])


# Which weights decay.


class Parts(nn.Module):
    """One of everything that is spared, and of what is not."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm, self.wide = nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3), nn.LayerNorm([3, 2, 2])
        self.rnn, self.head = nn.GRU(12, 4, batch_first=True), nn.Linear(4, 3, bias=False)
        self.temperature = nn.Parameter(torch.tensor(1.0))


SPARED = {
    "conv.bias",
    "norm.weight",
    "norm.bias",
    "wide.weight",
    "wide.bias",
    "rnn.bias_ih_l0",
    "rnn.bias_hh_l0",
    "temperature",
}


def test_no_decay__spares_biases_norms_and_single_numbers() -> None:
    parts = Parts()
    recipe = toy_recipe(functools.partial(torch.optim.SGD, lr=0.1, weight_decay=0.5), no_decay=True)
    optimizer = recipe.build_optimizer(parts)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.5, 0.0]
    called = {id(p): name for name, p in parts.named_parameters()}
    decayed, spared = ({called[id(p)] for p in group["params"]} for group in optimizer.param_groups)
    assert spared == SPARED
    assert decayed == {*called.values()} - SPARED


def test_no_decay__what_decays_shrinks_and_what_is_spared_stays() -> None:
    """Without a gradient a step of SGD is the decay alone: w <- (1 - lr wd) w."""
    parts = Parts()
    before = weights(parts)
    recipe = toy_recipe(functools.partial(torch.optim.SGD, lr=0.1, weight_decay=0.5), no_decay=True)
    optimizer = recipe.build_optimizer(parts)
    for parameter in parts.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, parameter in parts.named_parameters():
        expected = before[name] * (1.0 if name in SPARED else 0.95)
        np.testing.assert_allclose(parameter.detach().numpy(), expected.numpy(), rtol=1e-6)


def test_no_decay__holds_for_what_a_loss_trains_and_every_group_follows_the_schedule() -> None:
    spy = Spy(lr=0.1, weight_decay=0.5)
    objective = Objective({"projected": Term(Projected(), 1.0)}, 0.0)
    recipe = toy_recipe(spy, steps=3, no_decay=True, schedule=lambda step, *, base, total_steps: base / (step + 1))
    train(Noisy(), teacher=Plain(1), objective=objective, recipe=recipe)
    assert spy.optimizer is not None
    shapes = [[tuple(p.shape) for p in group["params"]] for group in spy.optimizer.param_groups]
    assert shapes == [[(8, 6), (3, 8), (3, 3)], [(8,), (8,), (8,), (3,), (3,)]]
    assert spy.rates == [[0.1, 0.1], [0.05, 0.05], pytest.approx([0.1 / 3] * 2)]


def test_no_decay__false_leaves_one_group() -> None:
    assert len(toy_recipe().build_optimizer(Parts()).param_groups) == 1
