import functools
import itertools
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from kd_lab import names
from kd_lab.feeds.memory import MemoryFeed
from kd_lab.inputs import Inputs
from kd_lab.measures.predict import predict
from kd_lab.seeds import integers
from kd_lab.teachers.frozen import FrozenTeacher
from kd_lab.training.distiller import Distiller
from kd_lab.training.module import TrainingModule
from kd_lab.training.objective import Objective, Term
from kd_lab.types import Batch, Outputs, Source
from tests.reference import losses_numpy as reference
from tests.training.toys import (
    CLASSES,
    FEATURES,
    Linear,
    Lines,
    Noisy,
    Plain,
    Projected,
    Spy,
    hard,
    kd,
    same,
    toy_data,
    toy_recipe,
    train,
    weights,
)


def modes_seen(module: nn.Module, *, with_gradient: bool | None = None) -> dict[str, list[bool]]:
    """For each submodule by name: its `training` flag at every call from now on."""
    seen: dict[str, list[bool]] = {}

    def watch(name: str, part: nn.Module) -> None:
        def note(*_: object) -> None:
            if with_gradient is None or torch.is_grad_enabled() == with_gradient:
                seen.setdefault(name, []).append(part.training)

        part.register_forward_pre_hook(note)

    for name, part in module.named_modules():
        watch(name, part)
    return seen


def inputs_seen(module: nn.Module) -> list[Tensor]:
    seen: list[Tensor] = []
    module.register_forward_pre_hook(lambda _, args: seen.append(args[0].detach().clone()))
    return seen


def shifted(inputs: Tensor, seeds: Tensor) -> Tensor:
    return inputs + integers(seeds, 0, 100).unsqueeze(1) / 100


# The teacher.


def test_teacher__every_submodule_is_in_eval_mode_at_every_step() -> None:
    teacher = Noisy(1).train()
    seen = modes_seen(teacher)

    train(Noisy(), data=toy_data(24, 6, 6), teacher=teacher, recipe=toy_recipe(steps=7))

    assert seen.keys() == dict(teacher.named_modules()).keys()
    assert all(modes == [False] * 7 for modes in seen.values()), seen


def test_teacher__its_weights_and_batchnorm_statistics_are_bit_identical_after_the_training() -> None:
    teacher = Noisy(1).train()
    before = weights(teacher)

    train(Noisy(), teacher=teacher)

    assert {"body.1.running_mean", "body.1.num_batches_tracked"} <= before.keys()
    assert same(weights(teacher), before)


def test_teacher__gets_no_gradient_even_if_its_parameters_asked_for_one() -> None:
    teacher = Noisy(1).requires_grad_(True)
    graphs: list[bool] = []
    teacher.register_forward_hook(lambda _module, _args, out: graphs.append(out.requires_grad))

    train(Plain(), teacher=teacher)

    assert graphs == [False] * 6
    assert all(p.grad is None and not p.requires_grad for p in teacher.parameters())


def test_teacher__is_in_no_parameters_no_state_dict_no_modules_and_no_checkpoint(tmp_path: Path) -> None:
    student, teacher = Plain(), Noisy(1)
    module = distiller(student, kd(), teacher=teacher)
    trainer = quiet_trainer(max_epochs=1)
    trainer.fit(module)
    trainer.save_checkpoint(tmp_path / "last.ckpt")

    expected = {f"step.network.{name}" for name in student.state_dict()}
    assert set(module.state_dict()) == expected
    assert set(torch.load(tmp_path / "last.ckpt", weights_only=True)["state_dict"]) == expected
    theirs = {id(p) for p in teacher.parameters()}
    assert theirs.isdisjoint(id(p) for p in module.parameters())
    assert set(module.modules()).isdisjoint(teacher.modules())


def test_teacher__sees_the_very_inputs_of_the_student_augmented_or_not() -> None:
    for augment in (True, False):
        data = toy_data(24, augment=shifted)
        student, teacher = Plain(), Plain(1)
        seen, taught = inputs_seen(student), inputs_seen(teacher)

        train(student, data=data, teacher=teacher, recipe=toy_recipe(augment=augment))

        assert len(seen) == 6
        assert all(torch.equal(s, t) for s, t in zip(seen, taught, strict=True))
        rows = {tuple(row) for row in data.source.inputs.tolist()}
        raw = [tuple(row) in rows for batch in seen for row in batch.tolist()]
        assert raw == [not augment] * len(raw)


def test_teacher__what_the_student_learns_follows_the_teacher_not_the_labels() -> None:
    data = toy_data(60)
    teacher = Linear(3)
    expected = predict(teacher, data.source.inputs, device="cpu").argmax(-1)
    student = Plain()

    train(
        student,
        data=data,
        teacher=teacher,
        objective=kd(1.0, 0.0),
        recipe=toy_recipe(functools.partial(torch.optim.Adam, lr=0.05), steps=200, batch_size=20),
    )

    agreement = (predict(student, data.source.inputs, device="cpu").argmax(-1) == expected).double().mean()
    assert agreement > 0.95
    assert (expected == data.targets).double().mean() < 0.8  # or following the labels would pass as well


# The student.


def test_student__every_submodule_is_in_train_mode_at_every_step_also_after_validation() -> None:
    student = Noisy()
    seen = modes_seen(student, with_gradient=True)

    train(student, data=toy_data(24, validation=6), recipe=toy_recipe(steps=7))  # 3 steps an epoch

    assert seen.keys() == dict(student.named_modules()).keys()
    assert all(modes == [True] * 7 for modes in seen.values()), seen


def test_student__is_in_eval_mode_when_its_training_is_over() -> None:
    student = Noisy()
    train(student)
    assert not any(part.training for part in student.modules())


def test_student__its_batchnorm_statistics_come_from_its_own_training_steps_alone() -> None:
    student = Noisy()
    train(student, data=toy_data(24, validation=6), recipe=toy_recipe(steps=7))
    assert int(student.body[1].num_batches_tracked) == 7


def test_student__learns_the_same_of_rows_that_are_read_as_they_are_wanted() -> None:
    data = toy_data(24, 6, 6, augment=shifted)
    lazy = replace(data, source=Lazy(data.source))
    students = [Noisy(), Noisy()]
    for student, each in zip(students, (data, lazy), strict=True):
        train(student, data=each, teacher=Noisy(1), recipe=toy_recipe(steps=7, augment=True))
    assert same(weights(students[0]), weights(students[1]))


class Lazy(NamedTuple):
    """Rows that are not in memory."""

    source: Source

    def read(self, rows: Tensor) -> Inputs:
        return self.source.read(rows)


def test_student__learns() -> None:
    data = toy_data(60)
    student = Plain()
    train(student, data=data, recipe=toy_recipe(steps=150, batch_size=20))
    assert (predict(student, data.source.inputs, device="cpu").argmax(-1) == data.targets).double().mean() > 0.95


def test_student__parameters_that_are_frozen_by_hand_stay_as_they_are() -> None:
    student, spy = Plain(), Spy()
    student.layers[0].requires_grad_(False)
    before = weights(student)

    train(student, recipe=toy_recipe(spy))

    after = weights(student)
    assert [id(p) for p in spy.parameters] == [id(p) for p in student.layers[2].parameters()]
    assert torch.equal(after["layers.0.weight"], before["layers.0.weight"])
    assert not torch.equal(after["layers.2.weight"], before["layers.2.weight"])


# One step is the step that the formula says.


def test_step__two_steps_of_sgd_equal_the_closed_form_gradient() -> None:
    """w <- w - lr * (0.1 * dCE + 0.9 * dKD) on the whole dataset, in NumPy; a second step: nothing piles up."""
    data, student, teacher, rate = toy_data(12), Linear(0), Linear(1), 0.5
    x, y = data.source.inputs.double().numpy(), data.targets.numpy()
    w, b = (p.detach().double().numpy().copy() for p in student.parameters())
    z_t = predict(teacher, data.source.inputs, device="cpu").double().numpy()

    train(
        student,
        data=data,
        teacher=teacher,
        recipe=toy_recipe(functools.partial(torch.optim.SGD, lr=rate), steps=2, batch_size=12),
    )

    for _ in range(2):
        z_s = x @ w.T + b
        d_hard = (softmax(z_s) - np.eye(3)[y]) / len(x)
        d_kd = 2.0 * (softmax(z_s / 2) - softmax(z_t / 2)) / len(x)  # T^2 * 1/T * (p_s - p_t), T = 2
        d = 0.1 * d_hard + 0.9 * d_kd
        w, b = w - rate * d.T @ x, b - rate * d.sum(0)
    np.testing.assert_allclose(student.layer.weight.detach().numpy(), w, atol=2e-6)
    np.testing.assert_allclose(student.layer.bias.detach().numpy(), b, atol=2e-6)


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
def test_step__label_smoothing_is_that_of_the_objective(label_smoothing: float) -> None:
    data, student, sink = toy_data(12), Linear(), Lines()
    z = predict(student, data.source.inputs, device="cpu").double().numpy()

    train(
        student,
        data=data,
        objective=Objective({}, 1.0, label_smoothing),
        recipe=toy_recipe(steps=1, batch_size=12),
        sink=sink,
    )

    expected = reference.cross_entropy(z, data.targets.tolist(), label_smoothing)
    assert sink.curve(names.TRAIN_LOSS_HARD) == {1: pytest.approx(expected, rel=1e-6)}


@pytest.mark.parametrize("scale", [1.0, 100.0], ids=["small", "large"])
def test_step__clip_norm_bounds_the_gradient_of_all_parameters_together(scale: float) -> None:
    """Large gradients are cut to the norm, small ones stay; the projector of the loss is clipped with the network."""
    data = toy_data(24)
    spies = {}
    for clip_norm in (None, 5.0):
        spies[clip_norm] = Spy(lr=1e-9)
        train(
            Linear(),
            data=data,
            teacher=Linear(1),
            objective=Objective({"projected": Term(Projected(), scale)}, 0.1),
            recipe=toy_recipe(spies[clip_norm], clip_norm=clip_norm),
        )

    free, clipped = spies[None].gradient_norms, spies[5.0].gradient_norms
    assert len(spies[5.0].parameters) == 4  # weight and bias of the network and of the projector
    if scale == 1.0:
        assert max(free) < 5
        assert clipped == pytest.approx(free, rel=1e-5)
    else:
        assert min(free) > 50
        assert clipped == pytest.approx([5.0] * 6, rel=1e-4)


# What the objective trains.


def test_objective__its_own_parameters_are_in_the_optimizer_get_a_gradient_and_move() -> None:
    loss, spy = Projected(), Spy()
    before = weights(loss)
    gradients: list[float] = []
    loss.projector.weight.register_hook(lambda g: gradients.append(g.norm().item()))

    train(
        Plain(),
        teacher=Plain(1),
        objective=Objective({"projected": Term(loss, 1.0)}, 0.0),
        recipe=toy_recipe(spy, steps=4),
    )

    assert {id(p) for p in loss.parameters()} <= {id(p) for p in spy.parameters}
    assert len(gradients) == 4
    assert min(gradients) > 0
    assert not torch.equal(loss.projector.weight, before["projector.weight"])


def test_objective__its_own_parameters_are_in_the_state_dict_of_the_training() -> None:
    module = distiller(Plain(), Objective({"projected": Term(Projected(), 1.0)}, 0.0), teacher=Plain(1))
    assert "step.objective.losses.projected.projector.weight" in module.state_dict()


# Callbacks of the user's own.


class Counting(pl.Callback):
    """Notes Lightning's own counter, as a user's callback sees it."""

    seen: ClassVar[list[int]] = []

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        self.seen.append(trainer.global_step)


@pytest.mark.parametrize("precision", ["32", "bf16-mixed"])
@pytest.mark.parametrize("clip_norm", [None, 0.05])
def test_callbacks__see_lightnings_steps_and_change_no_weight(clip_norm: float | None, precision: Any) -> None:
    """Watched, a training goes through Lightning's loop and optimizer; the numbers are those of the bare ones.

    Under autocast too: Lightning's keeps no copies of the weights, which would outlive a step.
    """
    Counting.seen.clear()
    students = [Noisy(), Noisy()]
    for student, callbacks in zip(students, ({}, {"mine": {"_target_": f"{__name__}.Counting"}}), strict=True):
        recipe = toy_recipe(functools.partial(torch.optim.Adam, lr=0.05), steps=7, clip_norm=clip_norm)
        recipe = replace(recipe, precision=precision)
        train(student, teacher=Noisy(1), recipe=recipe, callbacks=callbacks)

    assert same(weights(students[0]), weights(students[1]))
    assert Counting.seen == [1, 2, 3, 4, 5, 6, 7]


# How many steps.


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 6, 10])
def test_length__exactly_so_many_optimizer_steps_wherever_an_epoch_ends(steps: int) -> None:
    spy, sink = Spy(), Lines()

    measured = train(Plain(), recipe=toy_recipe(spy, steps=steps), sink=sink)  # 3 steps an epoch

    assert spy.steps == steps
    assert measured[names.COST_TRAIN_STEPS] == steps
    assert list(sink.curve(names.TRAIN_LOSS_TOTAL)) == list(range(1, steps + 1))


def test_length__an_epoch_with_teacher_runs_over_labelled_and_unlabelled_points_once_each() -> None:
    data, student = toy_data(10, 17), Plain()
    seen = inputs_seen(student)

    train(student, data=data, teacher=Plain(1), recipe=toy_recipe(steps=2 * 4))

    assert [len(batch) for batch in seen] == [8, 8, 8, 3] * 2
    for epoch in (seen[:4], seen[4:]):
        rows = torch.cat(epoch)
        assert sorted(rows.tolist()) == sorted(data.source.inputs.tolist())


# The same and not the same.


def test_seed__the_same_gives_the_same_weights_bit_for_bit() -> None:
    runs = []
    for _ in range(2):
        torch.manual_seed(int(torch.randint(1000, ()).item()))  # what went before must not matter
        student = Noisy()
        data = toy_data(20, 8, augment=shifted)
        train(student, data=data, teacher=Noisy(1), recipe=toy_recipe(augment=True), seed=5)
        runs.append(weights(student))
        torch.rand(3)
    assert same(*runs)


@pytest.mark.parametrize("network", [Plain, Noisy], ids=["order alone", "order and dropout"])
def test_seed__another_gives_other_weights_from_the_same_start(network: type[nn.Module]) -> None:
    runs = []
    for seed in (5, 6):
        student = network()
        train(student, recipe=toy_recipe(), seed=seed)
        runs.append(weights(student))
    assert not same(*runs)


def test_seed__fixes_dropout_with_the_order_held_fixed() -> None:
    """One batch is the whole dataset: nothing but dropout can differ."""
    runs = []
    for seed in (5, 6, 5):
        student = Noisy()
        train(student, data=toy_data(8), recipe=toy_recipe(steps=1), seed=seed)
        runs.append(student.head.weight.detach().clone())
    assert torch.equal(runs[0], runs[2])
    assert not torch.allclose(runs[0], runs[1])


# Precision.


def test_precision__bf16_mixed_computes_in_bfloat16_keeps_float32_weights_and_learns() -> None:
    data, student, teacher, sink = toy_data(60), Plain(), Plain(1), Lines()
    computed: dict[str, set[torch.dtype]] = {"student": set(), "teacher": set()}
    for name, network in (("student", student), ("teacher", teacher)):
        network.register_forward_hook(lambda _m, _a, out, name=name: computed[name].add(out.dtype))

    train(
        student,
        data=data,
        teacher=teacher,
        objective=kd(0.1, 0.9),
        recipe=toy_recipe(steps=150, batch_size=20, precision="bf16-mixed"),
        sink=sink,
    )

    assert computed == {"student": {torch.bfloat16}, "teacher": {torch.bfloat16}}
    assert {p.dtype for p in student.parameters()} == {torch.float32}
    assert sink.all_finite()
    losses = list(sink.curve(names.TRAIN_LOSS_HARD).values())
    assert np.mean(losses[-10:]) < 0.3 * np.mean(losses[:10])


@pytest.mark.parametrize("fused", [True, False], ids=["fused", "not fused"])
@pytest.mark.parametrize("clip_norm", [None, 0.01], ids=["no clipping", "clipped"])
def test_precision__16_mixed_scales_the_loss_and_takes_the_scale_out_again(
    fused: bool, clip_norm: float | None
) -> None:
    """Lightning's fp16 plugin, which it gives to a GPU alone, with a scaler for the CPU: the path a GPU takes."""
    results = []
    for scaled in (True, False):
        student = Plain()
        recipe = toy_recipe(
            functools.partial(torch.optim.SGD, lr=0.1, fused=fused),
            clip_norm=clip_norm,
            precision="16-mixed" if scaled else "32",
        )
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
        plugins: list[Any] = [pl.plugins.MixedPrecision("16-mixed", "cpu", scaler)] if scaled else []
        quiet_trainer(max_epochs=2, plugins=plugins).fit(distiller(student, hard(), recipe=recipe))
        results.append(weights(student))
    start = weights(Plain())
    for name, value in results[0].items():
        moved, expected = value - start[name], results[1][name] - start[name]
        assert (moved - expected).norm() < 0.02 * expected.norm()


# Interruptions.


def test_interruption__ctrl_c_in_a_step_comes_out_as_ctrl_c_and_keeps_the_curves() -> None:
    class Interrupted(Plain):
        calls = itertools.count(1)

        def forward(self, inputs: Tensor) -> Tensor:
            if next(self.calls) == 5:
                raise KeyboardInterrupt
            return super().forward(inputs)

    sink = Lines()
    with pytest.raises(KeyboardInterrupt):
        train(Interrupted(), sink=sink, every=3)
    assert list(sink.curve(names.TRAIN_LOSS_TOTAL)) == [3, 4]


def test_interruption__an_error_of_the_network_comes_out_as_it_is() -> None:
    class Broken(Plain):
        def forward(self, inputs: Tensor) -> Tensor:
            raise RuntimeError("the network's own words")

    with pytest.raises(RuntimeError, match="the network's own words"):
        train(Broken())


# Helpers.


def distiller(
    network: nn.Module, objective: Objective, *, teacher: nn.Module | None = None, recipe: Any = None
) -> TrainingModule:
    data = toy_data()
    recipe = recipe if recipe is not None else toy_recipe()
    feed = MemoryFeed(data, data.transfer, batch_size=recipe.batch_size, total_steps=recipe.steps, seed=0)
    frozen = FrozenTeacher(teacher) if teacher is not None else None
    return TrainingModule(Distiller(network, objective, teacher=frozen), recipe, feed)


def quiet_trainer(**settings: Any) -> pl.Trainer:
    quiet = {
        "accelerator": "cpu",
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return pl.Trainer(**(quiet | settings))


def test_distiller__last_terms_holds_the_terms_of_the_step_by_name() -> None:
    module = distiller(Plain(), kd(), teacher=Plain(1))
    quiet_trainer(max_epochs=1, limit_train_batches=1).fit(module)
    assert module.last_terms is not None
    assert list(module.last_terms.terms) == ["hard", "kd"]
    parts = module.last_terms.terms
    assert module.last_terms.total.item() == pytest.approx(0.1 * parts["hard"].item() + 0.9 * parts["kd"].item())


def test_distiller__a_soft_term_without_a_teacher_is_refused() -> None:
    with pytest.raises(ValueError, match="Expected a teacher for the term `kd`"):
        train(Plain(), objective=kd())


def test_frozen_teacher__outputs_are_outputs() -> None:
    batch = Batch(torch.zeros(2, 6), torch.zeros(2, dtype=torch.int64), torch.arange(2))
    assert isinstance(FrozenTeacher(Plain())(batch), Outputs)


# How it is computed: another order in memory, code that was compiled.


class Maps(nn.Module):
    """A convolution and a classifier; notes in which order its maps lie."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(2, 4, 3, padding=1)
        self.head = nn.Linear(4 * FEATURES, CLASSES)
        self.orders: set[bool] = set()

    def forward(self, inputs: Tensor) -> Tensor:
        maps = self.conv(inputs.reshape(len(inputs), 1, 2, -1).expand(-1, 2, -1, -1))
        if not torch.compiler.is_compiling():
            self.orders.add(maps.is_contiguous(memory_format=torch.channels_last))
        return self.head(maps.flatten(1))


def trained_as(**settings: bool) -> Maps:
    network = Maps()
    recipe = toy_recipe(functools.partial(torch.optim.SGD, lr=0.05), steps=5)
    train(network, data=toy_data(32), recipe=replace(recipe, **settings))
    return network


def test_recipe__channels_last__the_same_numbers_to_rounding_and_the_usual_order_afterwards() -> None:
    usual, other = trained_as(), trained_as(channels_last=True)
    assert (usual.orders, other.orders) == ({False}, {True})
    assert other.conv.weight.is_contiguous()
    assert weights(usual).keys() == weights(other).keys()
    for name, one in weights(usual).items():
        torch.testing.assert_close(weights(other)[name], one, rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on the CPU")
def test_recipe__compile__the_same_numbers_to_rounding_and_a_plain_network_afterwards() -> None:
    usual, other = trained_as(), trained_as(compile=True)
    assert other.orders == set()
    assert weights(usual).keys() == weights(other).keys()
    for name, one in weights(usual).items():
        torch.testing.assert_close(weights(other)[name], one, rtol=0, atol=1e-5)
    other(torch.zeros(1, FEATURES))
    assert other.orders == {False}
