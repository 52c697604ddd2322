"""A training that was interrupted and went on is the one that was not: weights, curves, measurements, bit for bit."""

import functools
import random
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from kd_lab import names
from kd_lab.errors import UserError
from kd_lab.mixing.mixup import Mixup
from kd_lab.schedules.cosine import cosine
from kd_lab.training.module import TrainingModule
from kd_lab.training.states import Part, States
from tests.training.toys import Lines, Noisy, Plain, Projected, hard, kd, same, toy_data, toy_recipe, train, weights

ADAM = functools.partial(torch.optim.Adam, lr=0.01)
EVERY_STEP = 1e-9


class Killed(BaseException):
    """As sudden as a signal, for who goes on in the same process."""


class Says(list[str]):
    def __call__(self, sentence: str) -> None:
        self.append(sentence)


@pytest.fixture
def kill(monkeypatch: pytest.MonkeyPatch) -> Callable[[int | None], None]:
    """`kill(step)`: the next trainings end before this step; None: at their end."""
    original, end = TrainingModule._count, None

    def count(self: TrainingModule, *args: Any) -> None:
        if self.steps_done == end:
            raise Killed
        original(self, *args)

    def at(step: int | None) -> None:
        nonlocal end
        end = step

    monkeypatch.setattr(TrainingModule, "_count", count)
    return at


def states(folder: Path, every_s: float = EVERY_STEP) -> States:
    return States(folder / "states" / "network", Says(), every_s)


class Dropped(nn.Module):
    """A network that draws from all three sources of random numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Noisy()

    def forward(self, inputs: Tensor) -> Tensor:
        return self.inner(inputs) * (1 + 0.1 * random.random() + 0.1 * float(np.random.rand()))


def jittered(inputs: Tensor, seeds: Tensor) -> Tensor:
    return inputs + (seeds % 7).to(inputs.dtype).reshape(-1, 1) / 10


KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "dropout and BatchNorm": {"network": Noisy},
    "random numbers of all three kinds": {"network": Dropped},
    "adam, cosine, clipping": {"recipe": {"optimizer": ADAM, "schedule": cosine, "clip_norm": 0.5}},
    "augmentation": {"augment": jittered, "recipe": {"augment": True}},
    "repeated draws": {"augment": jittered, "recipe": {"augment": True, "draws": 2}},
    "average and accumulation": {"network": Noisy, "recipe": {"ema": 0.7, "accumulate": 2}},
    "mixed": {"recipe": {"mix": Mixup(alpha=1.0)}},
    "taught": {"teacher": Plain, "objective": kd},
    "a loss with parts": {"teacher": Plain, "objective": "projected"},
    "windows": {"network": Noisy, "every": 4},
}


def run(kind: dict[str, Any], sink: Lines, kept: States | None, best: Path) -> tuple[nn.Module, dict[str, float]]:
    from kd_lab.training.objective import Objective, Term

    objective = kind.get("objective")
    made = Objective({"p": Term(Projected(), 0.5)}, 0.5) if objective == "projected" else (objective or hard)()
    network = kind.get("network", Plain)()
    random.seed(0)
    np.random.seed(0)  # these two nobody else seeds
    measured = train(
        network,
        data=toy_data(labelled=28, validation=12, augment=kind.get("augment")),
        objective=made,
        recipe=toy_recipe(**({"steps": 15} | kind.get("recipe", {}))),
        teacher=kind["teacher"](5) if "teacher" in kind else None,
        sink=sink,
        every=kind.get("every", 1),
        states=kept,
        best=best,
    )
    return nn.ModuleList([network, made]), measured


@pytest.mark.parametrize("kind", KINDS)
def test_fit__goes_on_as_if_nothing_had_been(tmp_path: Path, kill: Any, kind: str) -> None:
    whole, kept = Lines(), states(tmp_path)
    uninterrupted, measured = run(KINDS[kind], whole, None, tmp_path / "whole.safetensors")

    for step in (1, 2, 4, 7, 11, 14):
        kill(step)
        with pytest.raises(Killed):
            run(KINDS[kind], Lines(), kept, tmp_path / "best.safetensors")
        (tmp_path / "best.safetensors").unlink(missing_ok=True)
    kill(None)
    sink = Lines()
    resumed, again = run(KINDS[kind], sink, kept, tmp_path / "best.safetensors")

    assert kept.tell[-1].startswith("toy: goes on at step 14 of 15, from a state of ")  # type: ignore[attr-defined]
    mine, theirs = weights(resumed), weights(uninterrupted)
    assert [name for name in theirs if not torch.equal(mine[name], theirs[name])] == []
    assert sink.points == whole.points
    of_time = {names.COST_TRAIN_WALL_S, names.COST_TRAIN_SAMPLES_PER_S, names.COST_TRAIN_PEAK_MEMORY_BYTES}
    assert {k: v for k, v in again.items() if k not in of_time} == {
        k: v for k, v in measured.items() if k not in of_time
    }
    assert (tmp_path / "best.safetensors").read_bytes() == (tmp_path / "whole.safetensors").read_bytes()


def test_fit__an_interruption_waits_for_a_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, original = states(tmp_path, every_s=300.0), TrainingModule._count

    def count(self: TrainingModule, *args: Any) -> None:
        if self.steps_done == 4:
            signal.raise_signal(signal.SIGINT)
        original(self, *args)

    monkeypatch.setattr(TrainingModule, "_count", count)
    whole, sink = Lines(), Lines()
    with pytest.raises(KeyboardInterrupt):
        run(KINDS["dropout and BatchNorm"], Lines(), kept, tmp_path / "best.safetensors")
    monkeypatch.setattr(TrainingModule, "_count", original)
    resumed, _ = run(KINDS["dropout and BatchNorm"], sink, kept, tmp_path / "best.safetensors")
    uninterrupted, _ = run(KINDS["dropout and BatchNorm"], whole, None, tmp_path / "whole.safetensors")

    assert kept.tell[0].startswith("toy: goes on at step 5 of 15, ")  # type: ignore[attr-defined]
    assert sink.points == whole.points
    assert same(weights(resumed), weights(uninterrupted))


def test_fit__a_member_that_is_finished_is_not_trained_again(tmp_path: Path, kill: Any) -> None:
    kept, first, sink = states(tmp_path).of("member-0"), Lines(), Lines()
    trained, measured = run(KINDS["plain"], first, kept, tmp_path / "best.safetensors")
    kill(0)

    found, again = run(KINDS["plain"], sink, kept, tmp_path / "best.safetensors")

    assert kept.tell[-1].startswith("toy: was trained to its end, found in a state of ")  # type: ignore[attr-defined]
    assert same(weights(found), weights(trained))
    assert (sink.points, again) == (first.points, measured)
    assert len(list(kept.folder.iterdir())) == 1


def test_fit__keeps_nothing_that_is_over_before_it_is_time(tmp_path: Path) -> None:
    kept = states(tmp_path, every_s=300.0).of("member-0")
    run(KINDS["plain"], Lines(), kept, tmp_path / "best.safetensors")

    assert not kept.folder.exists()


def in_parts(folder: Path, *ends: int) -> list[States]:
    """One folder for each part, which goes on from the one before."""
    folders = [folder / "parts" / str(end) for end in ends]
    before = [None, *folders]
    return [
        States(own, Says(), 300.0, part=Part(end, last)) for own, end, last in zip(folders, ends, before, strict=False)
    ]


@pytest.mark.parametrize("kind", ["average and accumulation", "a loss with parts", "random numbers of all three kinds"])
def test_fit__in_parts__is_the_whole(tmp_path: Path, kind: str) -> None:
    whole, sink = Lines(), Lines()
    uninterrupted, measured = run(KINDS[kind], whole, None, tmp_path / "whole.safetensors")

    first, second, third = in_parts(tmp_path, 4, 12, 15)
    _, at_first = run(KINDS[kind], Lines(), first, tmp_path / "best.safetensors")
    run(KINDS[kind], Lines(), second, tmp_path / "best.safetensors")
    resumed, again = run(KINDS[kind], sink, third, tmp_path / "best.safetensors")

    assert at_first[names.COST_TRAIN_STEPS] == 4
    assert [file.name.split("-")[1] for file in first.folder.iterdir()] == ["000000000004"]
    assert not third.folder.exists(), "the last one ends as every training does"
    assert same(weights(resumed), weights(uninterrupted))
    assert sink.points == whole.points
    assert again[names.VAL_NLL_NATS] == measured[names.VAL_NLL_NATS]


def test_fit__a_part_that_was_interrupted__goes_on_in_itself(tmp_path: Path, kill: Any) -> None:
    first, second = in_parts(tmp_path, 4, 12)
    run(KINDS["plain"], Lines(), first, tmp_path / "best.safetensors")
    kill(7)
    with pytest.raises(Killed):
        run(KINDS["plain"], Lines(), replace(second, every_s=EVERY_STEP), tmp_path / "best.safetensors")
    kill(None)
    run(KINDS["plain"], Lines(), second, tmp_path / "best.safetensors")
    run(KINDS["plain"], Lines(), second, tmp_path / "best.safetensors")

    told = [sentence.partition(",")[0] for sentence in second.tell]  # type: ignore[attr-defined]
    assert told == ["toy: goes on at step 4 of 15", *2 * ["toy: goes on at step 7 of 15"]], "its end is no beginning"


def test_fit__a_part_without_the_one_before__refused(tmp_path: Path) -> None:
    first, second = in_parts(tmp_path, 4, 12)
    with pytest.raises(UserError, match="toy: cannot go on from the state of the part before: there is none in "):
        run(KINDS["plain"], Lines(), second, tmp_path / "best.safetensors")
    run(KINDS["plain"], Lines(), first, tmp_path / "best.safetensors")
    with pytest.raises(UserError, match=r"its state is of other tracking\.every_n_steps \(1, now 4\)"):
        run(KINDS["windows"] | {"network": Plain}, Lines(), second, tmp_path / "best.safetensors")
