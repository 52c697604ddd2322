"""DOT: a momentum for the hard labels and a longer one for the teacher, so that the teacher's gradient leads.

Source: Zhao et al. 2023 (DOT, arXiv:2307.08436), algorithm 1 and the authors' code:
`v_hard <- (mu - D) v_hard + g_hard + decay theta`, `v_soft <- (mu + D) v_soft + g_soft`, and
`theta <- theta - lr (v_hard + v_soft)`. A parameter that only one of the two reaches, such as a loss's own projector,
keeps mu. With D = 0 it is SGD, bit for bit. All soft terms together have one momentum.

Costs a second backward pass and one more number for each parameter. Defaults: D = 0.075, the authors' of CIFAR-100 and
Tiny-ImageNet; 0.09 on ImageNet.

Differs: a parameter that the soft terms alone reach decays from the first step on; in the authors' code, from the
second.
"""

import functools
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from kd_lab.strategies.common.ahead import meant
from kd_lab.strategies.common.strategy import Parties, Strategy, Taught, Training
from kd_lab.strategies.common.weighted import weighed
from kd_lab.training.objective import HARD
from kd_lab.training.recipe import Recipe
from kd_lab.types import Batch, LossTerms, Step

APART = "gradient_of_hard_labels"
"""Where a parameter that both reach carries the hard labels' part of its gradient, from the step to the optimizer."""


class DOT(Strategy):
    """Plain distillation by `TwoMomenta`, made of the recipe's SGD.

    Args:
        delta: D, by how much the hard labels' momentum is below the recipe's and that of the soft terms above it.

    Raises:
        ValueError: `delta` is negative or not below 1.
    """

    def __init__(self, *, delta: float = 0.075) -> None:
        if not 0 <= delta < 1:
            raise ValueError(f"Expected `delta` to be from 0 to below 1, but got {delta}.")
        self.delta = float(delta)

    def check(self, parties: Parties) -> None:
        """Both kinds of terms have a weight, and the recipe a momentum that is the only thing done to a gradient.

        Raises:
            ValueError: one of these is not so.
        """
        found = weighed(parties.objective, all_terms=False)
        if HARD not in found or len(found) < 2:
            raise ValueError(
                f"has a momentum for the hard labels and one for the soft terms, and only {', '.join(found)} has a "
                "weight above 0; expected both, such as loss.hard_weight=0.1 loss.weight=0.9"
            )
        assert parties.recipe is not None
        self._check_recipe(parties.recipe)

    def _check_recipe(self, recipe: Recipe) -> None:
        _, momentum, _ = _settings(recipe)
        if not (self.delta <= momentum and momentum + self.delta < 1):
            raise ValueError(
                f"delta={self.delta:g}: the momenta {momentum:g} - delta and {momentum:g} + delta must be from 0 to "
                f"below 1; expected less than {min(momentum, 1 - momentum):g}"
            )
        refused = {
            f"clip_norm={recipe.clip_norm}": (recipe.clip_norm is not None, "null, for it clips one gradient, not two"),
            "precision=16-mixed": (recipe.precision == "16-mixed", "bf16-mixed or 32, whose gradients need no scale"),
            "compile=true": (recipe.compile, "false: torch.compile has one backward pass, and there are two"),
        }
        for setting, (is_so, expected) in refused.items():
            if is_so:
                raise ValueError(f"does not go with student.recipe.{setting}; expected {expected}")

    def recipe(self, recipe: Recipe) -> Recipe:
        """With the two momenta in the place of one."""
        lr, momentum, decay = _settings(recipe)
        made = functools.partial(TwoMomenta, lr=lr, momentum=momentum, weight_decay=decay, delta=self.delta)
        return replace(recipe, optimizer=made)

    def step(self, training: Training) -> Step:
        """As plain distillation, with the hard labels' gradient taken apart."""
        return Apart(training)


def _settings(recipe: Recipe) -> tuple[float, float, float]:
    """Learning rate, momentum and weight decay of the recipe's SGD.

    Raises:
        ValueError: it is no SGD with a plain momentum.
    """
    made = recipe.optimizer([nn.Parameter(torch.zeros(1))])
    plain = type(made) is torch.optim.SGD and made.defaults["momentum"] > 0
    if not plain or any(made.defaults[name] for name in ("nesterov", "dampening", "maximize")):
        what = f"{type(made).__name__} with nesterov or dampening" if plain else f"{type(made).__name__} without one"
        raise ValueError(
            f"splits the momentum of SGD in two, and student.recipe.optimizer is {what}; expected "
            "student/recipe/optimizer=sgd"
        )
    return made.defaults["lr"], made.defaults["momentum"], made.defaults["weight_decay"]


class Apart(Taught):
    """The step of `DOT`: plain distillation, which leaves the hard labels' gradient on each parameter that both reach.

    It is the sum over the batches of an optimizer step, and the mean over processes, as `grad` is.
    """

    def __init__(self, training: Training) -> None:
        super().__init__(training)
        self._fresh = True
        self._both: list[nn.Parameter] = []

    def forward(self, batch: Batch) -> LossTerms:
        """Hard-label cross-entropy and soft terms, each by name."""
        terms = super().forward(batch)
        share = 1.0 if batch.share is None else batch.share.hard
        hard = self.objective.hard_weight * share * terms.terms[HARD]
        if not self._both:
            self._both = self._reached(hard, [terms.terms[name] for name in self.objective.terms])
        gradients = list(torch.autograd.grad(hard, self._both, retain_graph=True))
        if not self._fresh:
            gradients = [getattr(p, APART) + g for p, g in zip(self._both, gradients, strict=True)]
        for parameter, gradient in zip(self._both, meant(gradients) if batch.last else gradients, strict=True):
            setattr(parameter, APART, gradient)
        self._fresh = batch.last
        return terms

    def release(self) -> None:
        """The parameters carry nothing more."""
        super().release()
        for parameter in self._both:
            if hasattr(parameter, APART):
                delattr(parameter, APART)
        self._both = []

    def _reached(self, hard: Tensor, soft: list[Tensor]) -> list[nn.Parameter]:
        """The parameters that both follow from."""
        trained = [p for p in self.parameters() if p.requires_grad]
        reached = [
            torch.autograd.grad(value, trained, retain_graph=True, allow_unused=True)
            for value in (hard, torch.stack(soft).sum())
        ]
        return [p for p, *found in zip(trained, *reached, strict=True) if all(g is not None for g in found)]


class TwoMomenta(torch.optim.Optimizer):
    """SGD whose momentum is split, see the module; `delta`: D.

    It keeps the sum of both momenta, which is all that SGD has, and beside it the hard labels'.
    """

    def __init__(self, params: Iterable[Any], *, lr: float, momentum: float, weight_decay: float, delta: float) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self.delta = delta

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Move every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.add_(self._moved(parameter, group), alpha=-group["lr"])
        return loss

    def _moved(self, parameter: Tensor, group: dict[str, Any]) -> Tensor:
        """`v_hard + v_soft` of one parameter."""
        kept, mu, decay = self.state[parameter], group["momentum"], group["weight_decay"]
        gradient, hard = parameter.grad, getattr(parameter, APART, None)
        assert gradient is not None
        if decay:
            gradient = gradient.add(parameter, alpha=decay)
        if not kept:
            kept["sum"] = torch.zeros_like(parameter)
        both: Tensor = kept["sum"]
        if hard is None:
            return both.mul_(mu).add_(gradient)
        if decay:
            hard = hard.add(parameter, alpha=decay)
        v_hard = kept.setdefault("hard", torch.zeros_like(parameter))
        further = both - 2 * v_hard  # v_soft - v_hard
        v_hard.mul_(mu - self.delta).add_(hard)
        return both.mul_(mu).add_(gradient).add_(further, alpha=self.delta)
