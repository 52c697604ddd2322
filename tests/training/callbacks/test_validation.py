import copy
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from kd_lab import names
from kd_lab.errors import PrunedError
from kd_lab.types import Data
from tests.training.toys import Lines, Noisy, toy_data, toy_recipe, train

KEYS = {names.VAL_ACCURACY_TOP1, names.VAL_NLL_NATS}


def numpy_forward(network: Noisy, inputs: Tensor) -> np.ndarray:
    """`Noisy` in eval mode, in float64 from its state dict: running statistics, no dropout."""
    s = {name: value.double().numpy() for name, value in network.state_dict().items()}
    x = inputs.double().numpy() @ s["body.0.weight"].T + s["body.0.bias"]
    x = (x - s["body.1.running_mean"]) / np.sqrt(s["body.1.running_var"] + network.body[1].eps)
    x = np.maximum(x * s["body.1.weight"] + s["body.1.bias"], 0)
    return x @ s["head.weight"].T + s["head.bias"]


def expected(network: Noisy, data: Data) -> dict[str, float]:
    z = numpy_forward(network, data.source.inputs[data.validation])
    y = data.targets[data.validation].numpy()
    log_p = z - np.log(np.exp(z).sum(-1, keepdims=True))
    return {
        names.VAL_ACCURACY_TOP1: float((z.argmax(-1) == y).mean()),
        names.VAL_NLL_NATS: float(-log_p[np.arange(len(y)), y].mean()),
    }


class Photographed(Noisy):
    """Keeps a copy of itself from before each training step."""

    def __init__(self) -> None:
        super().__init__()
        self.before: list[Noisy] = []

    def forward(self, inputs: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            copied = Noisy()
            copied.load_state_dict(copy.deepcopy(self.state_dict()))
            self.before.append(copied)
        return super().forward(inputs)


def validation_points(sink: Lines) -> dict[int, dict[str, float]]:
    points = [(step, values) for step, values in sink.points if KEYS & values.keys()]
    assert len(dict(points)) == len(points), "a step was validated twice"
    return dict(points)


def test_validation__at_the_end_of_each_epoch_what_numpy_finds_for_the_same_weights() -> None:
    """3 steps an epoch, 8 steps: epochs end after steps 3, 6 and, cut short, 8."""
    data, network, sink = toy_data(24, validation=9), Photographed(), Lines()

    measured = train(network, data=data, recipe=toy_recipe(steps=8), sink=sink)

    found = validation_points(sink)
    assert list(found) == [3, 6, 8]
    assert found[3] == pytest.approx(expected(network.before[3], data), rel=1e-5)
    assert found[6] == pytest.approx(expected(network.before[6], data), rel=1e-5)
    assert found[8] == pytest.approx(expected(network, data), rel=1e-5)
    assert measured[names.VAL_ACCURACY_TOP1] == pytest.approx(expected(network, data)[names.VAL_ACCURACY_TOP1])


def test_validation__changes_nothing_about_the_training() -> None:
    results = []
    for validation in (0, 9):
        network, data = Noisy(), toy_data(24, validation=validation)
        train(network, data=data, recipe=toy_recipe(steps=8))
        results.append(network.state_dict())
    assert all(torch.equal(results[0][name], results[1][name]) for name in results[0])


def test_validation__its_points_are_never_trained_on() -> None:
    class Watched(Noisy):
        seen: list[list[float]] = []  # noqa: RUF012

        def forward(self, inputs: Tensor) -> Tensor:
            if torch.is_grad_enabled():
                self.seen.extend(inputs.tolist())
            return super().forward(inputs)

    data = toy_data(24, 6, validation=9)
    train(Watched(), data=data, teacher=Noisy(1), recipe=toy_recipe(steps=8))
    held_out = {tuple(row) for row in data.source.inputs[data.validation].tolist()}
    assert len(Watched.seen) == 60
    assert held_out.isdisjoint(tuple(row) for row in Watched.seen)


def test_validation__none_where_there_is_no_validation_part() -> None:
    sink = Lines()
    measured = train(Noisy(), sink=sink)
    assert validation_points(sink) == {}
    assert names.VAL_ACCURACY_TOP1 not in measured


def test_validation__keys_are_renamed_for_a_member_of_an_ensemble() -> None:
    sink = Lines()
    train(Noisy(), data=toy_data(24, validation=9), sink=sink, rename=lambda key: names.of_member(1, key))
    assert list(sink.curve("member_1/val/accuracy_top1")) == [3, 6]
    assert list(sink.curve("member_1/val/nll_nats")) == [3, 6]
    assert validation_points(sink) == {}


def test_validation__is_computed_in_the_precision_of_the_training() -> None:
    computed: set[torch.dtype] = set()

    class Noted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Noisy()

        def forward(self, inputs: Tensor) -> Tensor:
            logits = self.inner(inputs)
            if not torch.is_grad_enabled():
                computed.add(logits.dtype)
            return logits

    train(Noted(), data=toy_data(24, validation=9), recipe=toy_recipe(precision="bf16-mixed"))
    assert computed == {torch.bfloat16}


def test_validation__reports_each_epoch_and_ends_where_the_report_says_so() -> None:
    told: list[tuple[int, int, float]] = []

    def report(epoch: int, epochs: int, measured: Mapping[str, float]) -> None:
        told.append((epoch, epochs, measured[names.VAL_ACCURACY_TOP1]))
        if epoch == 2:
            raise PrunedError("enough")

    sink = Lines()
    with pytest.raises(PrunedError, match="enough"):
        train(Noisy(), data=toy_data(24, validation=9), recipe=toy_recipe(steps=9), sink=sink, report=report)
    assert [(epoch, epochs) for epoch, epochs, _ in told] == [(1, 3), (2, 3)]
    assert [accuracy for _, _, accuracy in told] == list(sink.curve(names.VAL_ACCURACY_TOP1).values())
