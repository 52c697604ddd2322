"""What every teacher keeps: `check_teacher` raises an AssertionError for one that does not."""

from collections.abc import Callable

import torch
from torch import nn

from kd_lab.types import Batch, Teacher


def check_teacher(make: Callable[[], Teacher], batch: Batch, parts: Callable[[], list[nn.Module]] = list) -> None:
    """It answers the same for the same batch, without a graph, and neither it nor what it holds is touched.

    Args:
        make: a teacher, not yet attached; the same at every call.
        batch: with two samples or more.
        parts: the networks behind it, if there are any.
    """
    teacher = make()
    before = [{k: v.clone() for k, v in part.state_dict().items()} for part in parts()]
    hooks = [count_hooks(part) for part in parts()]
    assert teacher.identity == make().identity, "its identity is not the same twice"
    owner = nn.Module()
    owner.teacher = teacher  # type: ignore[assignment]
    assert not list(owner.parameters()), "its parameters are those of its owner"
    assert not owner.state_dict(), "it is in its owner's checkpoint"
    assert teacher.attach("cpu") is teacher
    owner.train()
    state = torch.get_rng_state()
    first, second = teacher(batch), teacher(batch)
    assert torch.equal(torch.get_rng_state(), state), "draws at random"
    for one, other in zip((first.logits, *first.features), (second.logits, *second.features), strict=True):
        assert torch.equal(one, other), "another answer to the same batch"
        assert not one.requires_grad, "its answer has a graph"
    assert first.logits.shape[0] == len(batch.targets), "not a row for each sample"
    assert len(first.views) == len(batch.views), "not an answer for each view"
    alone = Batch(batch.inputs[:1], batch.targets[:1], batch.index[:1], tuple(view[:1] for view in batch.views))
    torch.testing.assert_close(teacher(alone).logits, first.logits[:1], msg="a sample's answer depends on its batch")
    teacher.release()
    for part, was, hooked in zip(parts(), before, hooks, strict=True):
        assert all(torch.equal(was[k], v) for k, v in part.state_dict().items()), "what it holds has changed"
        assert not any(p.grad is not None for p in part.parameters()), "what it holds has gradients"
        assert count_hooks(part) == hooked, "it leaves hooks behind"


def count_hooks(network: nn.Module) -> int:
    """Forward hooks of all modules."""
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in network.modules())
