"""A teacher is asked once for each row and draw; what is kept is what it said."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from kd_lab.insight.taps import Tap
from kd_lab.teachers.answers import packed
from kd_lab.teachers.cached import CachedTeacher
from kd_lab.teachers.form import Form
from kd_lab.teachers.frozen import FrozenTeacher
from kd_lab.teachers.shelf import Shelf, layout_of
from kd_lab.types import Batch, Outputs

N, R, K = 20, 12, 3
ROWS = torch.arange(4, 4 + R)
INPUTS = torch.randn(N, 6, generator=torch.Generator().manual_seed(0))


class Counted(FrozenTeacher):
    """Counts what it is asked."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        super().__init__(nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, K)), [Tap("0")])
        self.times = 0

    def __call__(self, batch: Batch) -> Outputs:
        self.times += 1
        return super().__call__(batch)


def batches(draw: int = 0, size: int = 5) -> Iterator[Batch]:
    """An epoch in an order of its own; each draw has inputs of its own."""
    order = ROWS[torch.randperm(R, generator=torch.Generator().manual_seed(draw))]
    for index in order.split(size):
        inputs = INPUTS[index] + draw
        yield Batch(inputs, torch.zeros(len(index), dtype=torch.int64), index, (inputs * 2,), draw=draw)


def shelf(folder: Path) -> Shelf:
    teacher = Counted().attach("cpu")
    return Shelf(folder, R, layout_of(packed(Form(), teacher(next(batches())))))


def cached(
    teacher: Counted, place: Shelf | None = None, *, comes_again: bool = True, records: bool = True
) -> CachedTeacher:
    made = CachedTeacher(
        teacher, ROWS, num_rows=N, num_classes=K, shelf=place, comes_again=comes_again, records=records
    )
    return made.attach("cpu")


def same(one: Outputs, other: Outputs) -> bool:
    pairs = zip((one.logits, *one.features, *one.views), (other.logits, *other.features, *other.views), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_cached__second_epoch__is_answered_without_asking_and_the_same() -> None:
    teacher, online = Counted(), Counted().attach("cpu")
    made = cached(teacher)
    assert all(same(made(batch), online(batch)) for batch in batches())
    assert teacher.times == made.asked == 3
    assert teacher.samples == made.samples == 2 * R, "each row, and a view of it"
    assert all(same(made(batch), online(batch)) for batch in batches(size=5))
    assert teacher.times == 3
    assert made.answered == 3
    assert made.samples == 2 * R


def test_cached__filled_in_other_batches__the_same_to_rounding() -> None:
    teacher, online = Counted(), Counted().attach("cpu")
    made = cached(teacher)
    made.fill(batches(size=12))
    for batch in batches(size=1):
        torch.testing.assert_close(made(batch).logits, online(batch).logits, rtol=1e-6, atol=1e-6)
    assert teacher.times == 1


def test_cached__draws__each_is_recorded_by_one_training_and_said_again_by_the_next(tmp_path: Path) -> None:
    first, second, online = Counted(), Counted(), Counted().attach("cpu")
    for teacher in (first, second):
        made = cached(teacher, shelf(tmp_path / "a"), comes_again=False)
        for draw in range(3):
            assert all(same(made(batch), online(batch)) for batch in batches(draw))
    assert (first.times, second.times) == (9, 0)
    assert sorted(file.name for file in (tmp_path / "a").iterdir()) == [f"draw-{n}.safetensors" for n in range(3)]


def test_cached__an_epoch_that_was_cut_short__is_not_kept(tmp_path: Path) -> None:
    made = cached(Counted(), shelf(tmp_path / "a"), comes_again=False)
    for batch in list(batches(0))[:2] + list(batches(1)):
        made(batch)
    assert [file.name for file in (tmp_path / "a").iterdir()] == ["draw-1.safetensors"]


def test_cached__a_training_that_ends_in_an_epoch__the_next_begins_it_anew(tmp_path: Path) -> None:
    made = cached(Counted(), shelf(tmp_path / "a"))
    made(next(batches()))
    made.release()
    made.attach("cpu")
    for batch in batches():
        made(batch)
    kept = shelf(tmp_path / "a").load(0)
    assert kept is not None
    said = Counted()(Batch(INPUTS[ROWS], ROWS, ROWS))
    torch.testing.assert_close(kept["logits"], said.logits)


def test_cached__a_process_with_a_piece_of_each_batch__keeps_nothing_and_uses_what_is_there(tmp_path: Path) -> None:
    whole, piece, online = Counted(), Counted(), Counted().attach("cpu")
    for batch in batches(0):
        cached(piece, shelf(tmp_path / "a"), records=False)(batch)
    assert not (tmp_path / "a").exists()
    first = cached(whole, shelf(tmp_path / "a"))
    first.fill(batches(0))
    made = cached(piece, shelf(tmp_path / "a"), records=False)
    assert all(same(made(batch), online(batch)) for batch in batches(0))
    assert made.asked == 0


@pytest.mark.parametrize("damage", ["cut", "other shape", "other type", "no file", "link"])
def test_shelf__what_is_not_whole_is_not_there(tmp_path: Path, damage: str) -> None:
    place = shelf(tmp_path / "a")
    cached(Counted(), place).fill(batches())
    file = tmp_path / "a" / "draw-0.safetensors"
    assert place.load(0) is not None
    kept = place.load(0)
    assert kept is not None
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:-1])
    elif damage == "other shape":
        place.save(0, {name: one[:, :2] for name, one in kept.items()})
    elif damage == "other type":
        place.save(0, {name: one.double() for name, one in kept.items()})
    elif damage == "no file":
        file.unlink()
        file.mkdir()
    else:
        file.rename(tmp_path / "elsewhere")
        file.symlink_to(tmp_path / "elsewhere")
    assert place.load(0) is None


def test_shelf__cannot_be_written__training_goes_on_and_it_is_told(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("in the way")
    made = cached(Counted(), shelf(tmp_path / "a"))
    made.fill(batches())
    assert made.unkept is not None
    assert "in the way" not in made.unkept
    assert made.has(0)
    assert [file.name for file in tmp_path.iterdir()] == ["a"]


def test_shelf__large_answers_stay_in_their_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = shelf(tmp_path / "a")
    cached(Counted(), place).fill(batches())
    small = place.load(0)
    monkeypatch.setattr("kd_lab.teachers.shelf.IN_MEMORY_BYTES", 10)
    mapped = place.load(0)
    assert small is not None
    assert mapped is not None
    assert all(torch.equal(mapped[name], one) for name, one in small.items())
    maps = Path("/proc/self/maps")
    if maps.exists():
        assert "draw-0.safetensors" in maps.read_text()


def test_forget__what_was_found_is_asked_and_written_anew(tmp_path: Path) -> None:
    place = shelf(tmp_path / "a")
    cached(Counted(), place).fill(batches())
    kept = place.load(0)
    assert kept is not None
    place.save(0, {name: one + 1 for name, one in kept.items()})
    teacher = Counted()
    made = cached(teacher, place)
    assert made.has(0)
    made.forget()
    assert not made.has(0)
    made.fill(batches())
    assert teacher.times == 3
    again = place.load(0)
    assert again is not None
    assert torch.equal(again["logits"], kept["logits"])


def test_state__another_one_goes_on_in_the_midst_of_a_draw() -> None:
    """Also with the draw before it, which lies nowhere else: nothing that was asked is asked again."""
    first, teacher, online = cached(Counted()), Counted(), Counted().attach("cpu")
    begun, *rest = batches(1)
    for batch in [*batches(0), begun]:
        first(batch)

    other = cached(teacher)
    other.load_state_dict(first.state_dict())
    for batch in rest:
        other(batch)

    assert teacher.times == len(rest)
    assert other.samples == 2 * 2 * R, "with those before"
    assert all(same(other(batch), online(batch)) for batch in [*batches(0), *batches(1)])
    assert teacher.times == len(rest)


def test_state__holds_nothing_that_is_found_or_made_without_it(tmp_path: Path) -> None:
    once, filled, shelved = cached(Counted(), comes_again=False), cached(Counted()), cached(Counted(), shelf(tmp_path))
    filled.fill(batches())
    for batch in batches():
        once(batch)
        shelved(batch)

    assert once.state_dict().keys() == filled.state_dict().keys() == {"samples"}
    assert shelved.state_dict() == {"held": {}, "begun": None, "samples": shelved.samples}
