"""Every optimizer in conf/optimizer can be finished with parameters, and descends."""

import pytest
import torch

from tests.contracts.plugins import arguments, settings, target, with_target

pytestmark = pytest.mark.parametrize("name", with_target("optimizer"))


def test_yaml__is_partial_and_names_what_people_tune(name: str) -> None:
    content = settings("optimizer", name)

    assert content["_partial_"] is True
    assert content["lr"] > 0
    assert content["weight_decay"] >= 0


def test_step__descends(name: str) -> None:
    content = settings("optimizer", name)
    parameter = torch.nn.Parameter(torch.tensor([2.0, -3.0]))
    optimizer = target(content)([parameter], **arguments("optimizer", content))

    for _ in range(3):
        before = parameter.detach().square().sum().item()
        optimizer.zero_grad()
        parameter.square().sum().backward()
        optimizer.step()
        assert parameter.detach().square().sum().item() < before
