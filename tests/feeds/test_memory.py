import io
import pickle
from collections.abc import Callable

import pytest
import torch

from kd_lab.augment.shift import Shift
from kd_lab.errors import UserError
from kd_lab.feeds.memory import MemoryFeed
from kd_lab.types import Augment, Batch, Data, InMemory


def _data(count: int = 23, augment: Augment | None = None) -> Data:
    inputs = torch.arange(count, dtype=torch.float32).view(count, 1, 1, 1) + torch.arange(16.0).view(1, 1, 4, 4) / 100
    rows = torch.arange(count)
    return Data("test", InMemory(inputs), rows % 3, rows, rows, rows[:0], rows[:0], 3, "", augment)


def _epoch(feed: MemoryFeed) -> list[Batch]:
    return list(feed)


def _same(one: list[Batch], other: list[Batch]) -> bool:
    pairs = zip(one, other, strict=True)
    return all(torch.equal(a, b) for x, y in pairs for a, b in zip(x[:3], y[:3], strict=True))


def test_feed__an_epoch_has_each_row_once_and_keeps_the_last_small_batch() -> None:
    data = _data()
    rows = torch.arange(3, 13)
    feed = MemoryFeed(data, rows, batch_size=4, total_steps=100, seed=0)
    epoch = _epoch(feed)
    assert [len(batch.inputs) for batch in epoch] == [4, 4, 2]
    assert sorted(torch.cat([batch.index for batch in epoch]).tolist()) == list(range(3, 13))
    for batch in epoch:
        assert torch.equal(batch.inputs, data.source.inputs[batch.index])
        assert torch.equal(batch.targets, data.targets[batch.index])


@pytest.mark.parametrize(("steps", "sizes"), [(7, [3, 3, 1]), (6, [3, 3]), (2, [2]), (1, [1])])
def test_feed__exactly_total_steps_over_all_epochs(steps: int, sizes: list[int]) -> None:
    feed = MemoryFeed(_data(), torch.arange(10), batch_size=4, total_steps=steps, seed=0)
    assert (len(feed), feed.steps_per_epoch, feed.epochs) == (3, 3, len(sizes))
    assert [len(_epoch(feed)) for _ in range(feed.epochs)] == sizes
    assert _epoch(feed) == []


def test_feed__order_follows_seed_and_epoch_alone() -> None:
    def orders(seed: int) -> list[list[int]]:
        feed = MemoryFeed(_data(), torch.arange(23), batch_size=23, total_steps=3, seed=seed)
        return [_epoch(feed)[0].index.tolist() for _ in range(3)]

    torch.manual_seed(1)
    one = orders(0)
    torch.manual_seed(2)
    assert one == orders(0)
    assert len({tuple(order) for order in one + orders(1)}) == 6


def test_feed__leaves_the_global_generator_alone() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    _epoch(MemoryFeed(_data(augment=Shift(1)), torch.arange(23), batch_size=8, total_steps=9, seed=0, augment=True))
    assert torch.equal(torch.get_rng_state(), before)


def test_feed__starts_at_any_step() -> None:
    feed = MemoryFeed(_data(), torch.arange(23), batch_size=8, total_steps=9, seed=0)
    epochs = [_epoch(feed) for _ in range(3)]
    feed.start(4)
    assert feed.epochs == 2
    assert _same(_epoch(feed), epochs[1][1:])
    assert _same(_epoch(feed), epochs[2])


def test_feed__augment_changes_inputs_only_and_follows_the_seed() -> None:
    data = _data(augment=Shift(1))

    def make(augment: bool, seed: int = 0) -> list[Batch]:
        return _epoch(MemoryFeed(data, torch.arange(23), batch_size=8, total_steps=9, seed=seed, augment=augment))

    plain, augmented = make(False), make(True)
    assert [batch.index.tolist() for batch in plain] == [batch.index.tolist() for batch in augmented]
    assert not any(torch.equal(a.inputs, b.inputs) for a, b in zip(plain, augmented, strict=True))
    assert _same(augmented, make(True))


def test_feed__each_sample_has_its_own_seed_in_each_epoch_whatever_its_batch() -> None:
    def seeds(batch_size: int) -> list[dict[float, int]]:
        seen: list[dict[float, int]] = [{}]

        def spy(inputs: torch.Tensor, seeds: torch.Tensor) -> torch.Tensor:
            seen[-1] |= dict(zip(inputs[:, 0, 0, 0].tolist(), seeds.tolist(), strict=True))
            return inputs

        steps = 2 * -(-23 // batch_size)
        feed = MemoryFeed(
            _data(augment=spy), torch.arange(23), batch_size=batch_size, total_steps=steps, seed=0, augment=True
        )
        for _ in range(2):
            _epoch(feed)
            seen.append({})
        return seen[:2]

    first, second = seeds(4)
    assert len({*first.values(), *second.values()}) == 46
    assert seeds(9) == [first, second]


def test_feed__augment_without_a_transform_does_nothing() -> None:
    plain = MemoryFeed(_data(), torch.arange(23), batch_size=8, total_steps=9, seed=0)
    augmented = MemoryFeed(_data(), torch.arange(23), batch_size=8, total_steps=9, seed=0, augment=True)
    assert _same(_epoch(plain), _epoch(augmented))


@pytest.mark.parametrize("augment", [False, True])
@pytest.mark.parametrize("world", [2, 3, 5])
def test_feed__shards_are_the_tensor_split_of_the_whole(world: int, augment: bool) -> None:
    data = _data(augment=Shift(1))

    def make() -> MemoryFeed:
        return MemoryFeed(data, torch.arange(23), batch_size=8, total_steps=9, seed=0, augment=augment)

    whole = _epoch(make())
    pieces = [_epoch(make().shard(rank, world)) for rank in range(world)]
    for step, batch in enumerate(whole):
        for rank, inputs in enumerate(torch.tensor_split(batch.inputs, world)):
            assert torch.equal(pieces[rank][step].inputs, inputs)
            assert torch.equal(pieces[rank][step].targets, torch.tensor_split(batch.targets, world)[rank])
            assert torch.equal(pieces[rank][step].index, torch.tensor_split(batch.index, world)[rank])


@pytest.mark.parametrize("augment", [False, True])
def test_feed__an_empty_piece_repeats_a_sample_of_the_batch(augment: bool) -> None:
    data = _data(augment=Shift(1))

    def make() -> MemoryFeed:
        return MemoryFeed(data, torch.arange(10), batch_size=4, total_steps=3, seed=0, augment=augment)

    last = _epoch(make())[-1]
    assert len(last.index) == 2
    for rank, sample in enumerate([0, 1, 0, 1]):
        piece = _epoch(make().shard(rank, 4))[-1]
        assert piece.index.tolist() == [int(last.index[sample])]
        assert torch.equal(piece.inputs, last.inputs[sample : sample + 1])


def test_feed__to_is_in_place_and_moves_once() -> None:
    feed = MemoryFeed(_data(), torch.arange(23), batch_size=8, total_steps=9, seed=0)
    before = feed._source.inputs
    assert feed.to("cpu") is feed
    assert feed._source.inputs is before
    feed.to("meta")
    assert feed._source.inputs.device.type == feed._targets.device.type == "meta"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_feed__same_on_the_gpu() -> None:
    def make() -> MemoryFeed:
        return MemoryFeed(_data(augment=Shift(1)), torch.arange(23), batch_size=8, total_steps=9, seed=0, augment=True)

    there = [Batch(*(part.cpu() for part in batch)) for batch in make().to("cuda")]
    assert next(iter(make().to("cuda"))).inputs.is_cuda
    assert _same(there, _epoch(make()))


def test_feed__pickle_goes_on_where_it_was() -> None:
    feed = MemoryFeed(_data(augment=Shift(1)), torch.arange(23), batch_size=8, total_steps=9, seed=0, augment=True)
    _epoch(feed)
    again: MemoryFeed = pickle.load(io.BytesIO(pickle.dumps(feed.shard(1, 2))))
    assert _same(_epoch(again), _epoch(feed))


def test_feed__batch_larger_than_the_rows() -> None:
    with pytest.raises(UserError, match=r"Expected `batch_size` to be at most 10, .* but got 11"):
        MemoryFeed(_data(), torch.arange(10), batch_size=11, total_steps=1, seed=0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda d: MemoryFeed(d, d.train, batch_size=0, total_steps=1, seed=0), "`batch_size` to be >= 1, but got 0"),
        (lambda d: MemoryFeed(d, d.train, batch_size=1, total_steps=0, seed=0), "`total_steps` to be >= 1, but got 0"),
        (lambda d: MemoryFeed(d, d.test, batch_size=1, total_steps=1, seed=0), r"`len\(rows\)` to be >= 1, but got 0"),
        (lambda d: MemoryFeed(d, d.train, batch_size=1, total_steps=1, seed=0).shard(2, 2), "but got rank 2 of 2"),
    ],
)
def test_feed__values_out_of_range(make: Callable[[Data], MemoryFeed], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(_data())
