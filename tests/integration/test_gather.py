"""Batch-relational losses in two real processes on gloo: with `gather=true` they are as one with the whole batch."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from kd_lab.types import Batch
from tests.contracts.loss_cases import NAMES, Case, kind, leaves, mapped, tensors

pytestmark = pytest.mark.slow

RELATIONAL = [name for name in NAMES if kind(name).batch_relational]
WORLD, ROWS = 2, 7
SPLIT = (slice(0, 4), slice(4, 7))
STEPS = 2


def share(case: Case, rows: slice) -> dict[str, Any]:
    return {
        "student": leaves(mapped(case.student, lambda t: t[rows])),
        "teacher": mapped(case.teacher, lambda t: t[rows]),
        "batch": Batch(*(t[rows] for t in case.batch[:3])),
    }


def steps(case: Case, rows: slice) -> dict[str, Any]:
    """Value and gradients of two calls in a row (the second one sees what a memory kept), and the state after them."""
    found: dict[str, Any] = {"values": [], "student": []}
    for _ in range(STEPS):
        case.loss.zero_grad()
        seen = share(case, rows)
        value = case.loss(seen["student"], seen["teacher"], seen["batch"])
        value.backward()
        found["values"].append(value.detach())
        found["student"].append([torch.zeros_like(t) if t.grad is None else t.grad for t in tensors(seen["student"])])
    found["parts"] = {n: p.grad for n, p in case.loss.named_parameters() if p.grad is not None}
    found["state"] = dict(case.loss.named_buffers())
    return found


def one_rank(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=WORLD)
    found = {(n, g): steps(Case.of(n, rows=ROWS, gather=g), SPLIT[rank]) for n in RELATIONAL for g in (True, False)}
    torch.save(found, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[Any, Any]]:
    folder = tmp_path_factory.mktemp("ranks")
    mp.spawn(one_rank, (str(folder),), nprocs=WORLD)  # type: ignore[no-untyped-call]
    return [torch.load(Path(folder) / f"{rank}.pt", weights_only=True) for rank in range(WORLD)]


@pytest.mark.parametrize("name", RELATIONAL)
def test_gather__value_and_gradients_are_those_of_one_process(ranks: list[Any], name: str) -> None:
    alone = steps(Case.of(name, rows=ROWS), slice(0, ROWS))

    for rank, rows in enumerate(SPLIT):
        found = ranks[rank][name, True]
        for step in range(STEPS):
            torch.testing.assert_close(found["values"][step], alone["values"][step], rtol=1e-9, atol=1e-12)
            for own, whole in zip(found["student"][step], alone["student"][step], strict=True):
                # DDP averages over the processes.
                torch.testing.assert_close(own / WORLD, whole[rows], rtol=1e-8, atol=1e-12)
    for part, whole in alone["parts"].items():
        mean = sum(ranks[rank][name, True]["parts"][part] for rank in range(WORLD)) / WORLD
        torch.testing.assert_close(mean, whole, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("gather", [True, False])
@pytest.mark.parametrize("name", RELATIONAL)
def test_memory__is_the_same_on_all_ranks_and_as_in_one_process(ranks: list[Any], name: str, gather: bool) -> None:
    alone, first = steps(Case.of(name, rows=ROWS), slice(0, ROWS))["state"], ranks[0][name, gather]["state"]

    for found in (ranks[1][name, gather]["state"],):
        assert found.keys() == first.keys()
        assert all(torch.equal(found[k], first[k]) for k in first)
    for key, value in alone.items():
        torch.testing.assert_close(first[key], value)


@pytest.mark.parametrize("name", RELATIONAL)
def test_without_gather__a_process_sees_its_own_samples_alone(ranks: list[Any], name: str) -> None:
    if kind(name).has_memory:
        pytest.skip("samples meet in the memory, which is the same with and without")
    for rank, rows in enumerate(SPLIT):
        expected = steps(Case.of(name, rows=ROWS), rows)["values"][0]
        torch.testing.assert_close(ranks[rank][name, False]["values"][0], expected, rtol=1e-9, atol=1e-12)


def test_relational__losses_are_there_to_be_tested() -> None:
    assert {"rkd"} <= set(RELATIONAL)
