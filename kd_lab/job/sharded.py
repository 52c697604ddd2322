"""What of a job `trainer=fsdp` cannot train, found before anything is trained, and what it does, in a sentence."""

from collections.abc import Iterator

import torch
from torch import nn

from kd_lab.errors import UserError
from kd_lab.job.build import build, call
from kd_lab.job.describe import strategy_name
from kd_lab.job.plan import Plan
from kd_lab.job.settings import RecipeSettings
from kd_lab.strategies.common.strategy import Strategy

INSTEAD = "or trainer=ddp"
REFUSED = {
    "ema": "no process has the weights that would be averaged",
    "compile": "torch.compile was not tried with pieces of weights",
    "channels_last": "weights are split in their usual order",
}
"""What is off by default, in a recipe, and why it stays off."""


def check_sharded(plan: Plan) -> None:
    """Raise a UserError for what cannot be trained in pieces; nothing where it is not to be."""
    if not plan.devices.sharded:
        return
    if plan.settings.measure.gradients:
        raise UserError(
            "measure.gradients=true: no process of trainer=fsdp has the whole gradient; expected "
            f"measure.gradients=false, {INSTEAD}"
        )
    if type(plan.strategy).step is not Strategy.step:
        assert plan.settings.strategy is not None
        raise UserError(
            f"strategy={strategy_name(plan.settings.strategy)}: trainer=fsdp knows plain distillation alone, and this "
            f"one has steps of its own; expected strategy=none, born_again or self_training, {INSTEAD}"
        )
    for key, recipe in _recipes(plan):
        _check_recipe(key, recipe)
    for key, module in _trained(plan):
        _check_parameters(key, module)


def described(plan: Plan) -> list[str]:
    """What a user is told of it before a job begins."""
    if not plan.devices.sharded:
        return []
    return [
        f"{plan.devices.count} processes share out weights, gradients and optimizer state of what is trained (FSDP2); "
        "while a batch is learned from, each has all weights and gradients, and a teacher that is asked"
    ]


def _recipes(plan: Plan) -> Iterator[tuple[str, RecipeSettings]]:
    """Of all that is trained, by key."""
    specs, settings = plan.specs, plan.settings
    if specs.teacher is not None and specs.teacher.is_trained:
        yield "teacher.recipe", specs.teacher.recipe
    yield "student.recipe", settings.student.recipe
    if settings.baseline is not None:
        yield "baseline.recipe", plan.baseline_recipe()


def _check_recipe(key: str, recipe: RecipeSettings) -> None:
    for name, why in REFUSED.items():
        value = getattr(recipe, name)
        off = None if name == "ema" else False
        if value != off:
            told, expected = ("true", "false") if value is True else (f"{value:g}", "null")
            raise UserError(f"{key}.{name}={told}: not with trainer=fsdp, where {why}; expected {expected}, {INSTEAD}")
    if recipe.precision == "16-mixed":
        raise UserError(
            f"{key}.precision=16-mixed: not with trainer=fsdp, where each process would scale its piece by itself; "
            f"expected 32 or bf16-mixed, {INSTEAD}"
        )
    _check_optimizer(key, recipe)


def _check_optimizer(key: str, recipe: RecipeSettings) -> None:
    """Take a step with a small matrix: what is kept of it is as large as it is, or it could not be put together."""
    parameter = nn.Parameter(torch.ones(3, 2))
    optimizer: torch.optim.Optimizer = call(
        f"{key}.optimizer", build(f"{key}.optimizer", recipe.optimizer), {"params": [parameter]}
    )
    parameter.grad = torch.ones_like(parameter)
    call(f"{key}.optimizer", optimizer.step, {"closure": lambda: 1.0})
    kept = [v for v in optimizer.state[parameter].values() if isinstance(v, torch.Tensor) and v.numel() > 1]
    if any(one.shape != parameter.shape for one in kept):
        raise UserError(
            f"{key}.optimizer._target_={recipe.optimizer.get('_target_')}: keeps numbers of a weight that are not one "
            f"for each element, which trainer=fsdp cannot share out; expected another one, such as adam, {INSTEAD}"
        )


def _trained(plan: Plan) -> Iterator[tuple[str, nn.Module]]:
    """Networks and losses, by what a user calls them."""
    assert plan.built is not None
    if plan.built.teacher is not None and plan.specs.teacher is not None and plan.specs.teacher.is_trained:
        yield "teacher", plan.built.teacher
    for one in (*plan.built.links, plan):
        assert one.built is not None
        yield "student" if one is plan else "strategy", one.built.student
        for name, loss in one.built.bound.objective.losses.items():
            yield f"loss={name}", loss
        for name, (stage, _) in one.built.bound.stages.items():
            yield f"loss={name}", stage.loss


def _check_parameters(key: str, module: nn.Module) -> None:
    """Raise a UserError for a parameter that torch cannot split."""
    for name, parameter in module.named_parameters():
        if parameter.ndim == 0:
            raise UserError(
                f"{key}: its parameter {name} is a single number without an axis, which trainer=fsdp cannot split; "
                f"expected one of shape [1], {INSTEAD}"
            )
