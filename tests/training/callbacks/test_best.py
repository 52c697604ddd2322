"""The best epoch beside the last one, and a training that ends when nothing becomes better."""

from pathlib import Path
from typing import Any

import pytest
import torch

from kd_lab import names
from kd_lab.job.devices import Devices
from kd_lab.models.common.weights import load_weights
from tests.training.toys import Lines, Noisy, Plain, same, toy_data, toy_recipe, train, weights


class Noted(Noisy):
    """Keeps its weights as they are whenever it is asked on the validation part."""

    def __init__(self) -> None:
        super().__init__()
        self.epochs: list[dict[str, torch.Tensor]] = []

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        if not torch.is_grad_enabled():
            self.epochs.append(weights(self))
        return super().forward(inputs)


DATA: dict[str, Any] = {"labelled": 24, "validation": 9}


def rate(*rates: float) -> Any:
    """A learning rate for each epoch of three steps."""
    return lambda step, *, base, total_steps: rates[step // 3]


def still(step: int, *, base: float, total_steps: int) -> float:
    """Hardly anything is learned; the spawned processes pickle it."""
    return 1e-6


def trained(tmp_path: Path, **more: Any) -> tuple[Noted, dict[str, float], list[float]]:
    network, sink = Noted(), Lines()
    found = train(network, data=toy_data(**DATA), sink=sink, best=tmp_path / "best.safetensors", **more)
    return network, found, list(sink.curve(names.VAL_ACCURACY_TOP1).values())


def test_best__is_the_first_epoch_of_the_highest_accuracy_with_its_weights(tmp_path: Path) -> None:
    """A rate of 30 spoils what was learned before."""
    recipe = toy_recipe(steps=15, schedule=rate(0.1, 0.1, 0.1, 30.0, 30.0))
    network, found, accuracies = trained(tmp_path, recipe=recipe)
    assert accuracies[-1] < max(accuracies)
    best = accuracies.index(max(accuracies))
    assert found[names.VAL_BEST_EPOCH] == best + 1
    assert found[names.VAL_BEST_ACCURACY_TOP1] == pytest.approx(max(accuracies))
    assert found[names.VAL_ACCURACY_TOP1] == pytest.approx(accuracies[-1])
    kept = Noisy()
    load_weights(kept, tmp_path / "best.safetensors")
    assert same(weights(kept), network.epochs[best])
    assert not same(weights(kept), weights(network))


def test_best__not_asked_for_is_not_kept() -> None:
    found = train(Noisy(), data=toy_data(**DATA), recipe=toy_recipe())
    assert names.VAL_BEST_EPOCH not in found


def test_best__keeping_it_changes_nothing_about_the_training(tmp_path: Path) -> None:
    network, _, _ = trained(tmp_path)
    other = Noisy()
    train(other, data=toy_data(**DATA))
    assert same(weights(network), weights(other))


@pytest.mark.parametrize("patience", [1, 2])
def test_early_stopping__ends_so_many_epochs_after_the_best_one(patience: int) -> None:
    """With hardly a learning rate the first epoch stays the best."""
    sink = Lines()
    recipe = toy_recipe(steps=30, early_stopping=patience, schedule=still)
    found = train(Plain(), data=toy_data(**DATA), recipe=recipe, sink=sink)
    assert found[names.TRAIN_STOPPED_EPOCH] == 1 + patience
    assert found[names.COST_TRAIN_STEPS] == 3 * (1 + patience)
    assert list(sink.curve(names.VAL_ACCURACY_TOP1)) == [3 * n for n in range(1, patience + 2)]


def test_early_stopping__a_training_that_ends_by_itself_was_not_stopped() -> None:
    recipe = toy_recipe(steps=9, early_stopping=2, schedule=still)
    found = train(Plain(), data=toy_data(**DATA), recipe=recipe)
    assert found[names.COST_TRAIN_STEPS] == 9
    assert names.TRAIN_STOPPED_EPOCH not in found


@pytest.mark.slow
def test_both__come_home_from_two_processes(tmp_path: Path) -> None:
    recipe = toy_recipe(steps=30, early_stopping=2, schedule=still)
    network, path = Plain(), tmp_path / "best.safetensors"
    found = train(network, data=toy_data(**DATA), recipe=recipe, best=path, devices=Devices("cpu", 2, "ddp_spawn"))
    assert (found[names.VAL_BEST_EPOCH], found[names.TRAIN_STOPPED_EPOCH]) == (1, 3)
    assert found[names.COST_TRAIN_STEPS] == 9
    kept = Plain(5)
    load_weights(kept, path)
    for name, last in weights(network).items():
        torch.testing.assert_close(weights(kept)[name], last, rtol=0, atol=1e-4)
