import numpy as np
import pytest
import torch
from torch import Tensor, nn

from kd_lab import names
from kd_lab.job.devices import Devices
from tests.training.toys import Lines, Noisy, Plain, same, toy_data, toy_recipe, train, weights


class Photographed(Noisy):
    """Keeps its weights and statistics as they are when a training step begins."""

    def __init__(self) -> None:
        super().__init__()
        self.before: list[dict[str, Tensor]] = []

    def forward(self, inputs: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            self.before.append(weights(self))
        return super().forward(inputs)


def averaged(states: list[dict[str, Tensor]], decay: float) -> dict[str, np.ndarray]:
    """Written out from the first on, in float64."""
    found = {name: value.double().numpy() for name, value in states[0].items()}
    for state in states[1:]:
        found = {name: decay * mean + (1 - decay) * state[name].double().numpy() for name, mean in found.items()}
    return found


@pytest.mark.parametrize("accumulate", [1, 2])
def test_average__what_is_kept_is_the_moving_average_of_the_weights_after_each_step(accumulate: int) -> None:
    plain = Photographed()
    recipe = toy_recipe(steps=6, batch_size=8 // accumulate, accumulate=accumulate)
    train(plain, recipe=recipe)
    after_each_step = [*plain.before[accumulate::accumulate], weights(plain)]
    assert len(after_each_step) == 6

    network = Noisy()
    train(network, recipe=toy_recipe(steps=6, batch_size=8 // accumulate, accumulate=accumulate, ema=0.7))

    expected = averaged(after_each_step, 0.7)
    for name, value in weights(network).items():
        if name != "body.1.num_batches_tracked":
            np.testing.assert_allclose(value.numpy(), expected[name], rtol=1e-4, atol=1e-6)


def test_average__a_decay_of_0_keeps_the_last_weights() -> None:
    kept = []
    for ema in (None, 0.0):
        network = Noisy()
        train(network, recipe=toy_recipe(steps=6, ema=ema))
        kept.append(weights(network))
    assert same(*kept)


def test_average__is_what_the_validation_part_is_followed_with() -> None:
    data, sink, network = toy_data(24, validation=9), Lines(), Noisy()
    measured = train(network, data=data, recipe=toy_recipe(steps=6, ema=0.9), sink=sink)
    rows = data.validation
    with torch.no_grad():
        logits = network(data.read(rows))
    found = float(nn.functional.cross_entropy(logits, data.targets[rows]))
    assert measured[names.VAL_NLL_NATS] == pytest.approx(found, rel=1e-5)
    assert sink.curve(names.VAL_NLL_NATS)[6] == pytest.approx(found, rel=1e-5)


def test_average__changes_nothing_about_the_training() -> None:
    """The losses are those of the weights that are trained, whatever is kept."""
    curves = []
    for ema in (None, 0.99):
        sink = Lines()
        train(
            Noisy(), teacher=Noisy(1), data=toy_data(24, validation=9), recipe=toy_recipe(steps=6, ema=ema), sink=sink
        )
        curves.append(sink.curve(names.TRAIN_LOSS_TOTAL))
    assert curves[0] == curves[1]


@pytest.mark.slow
def test_average__of_two_processes_comes_home() -> None:
    kept = []
    for devices in (Devices("cpu", 1, "auto"), Devices("cpu", 2, "ddp_spawn")):
        network = Plain()
        train(network, recipe=toy_recipe(steps=6, ema=0.8), devices=devices)
        kept.append(weights(network))
    for name, value in kept[0].items():
        torch.testing.assert_close(value, kept[1][name], rtol=1e-5, atol=1e-6)
