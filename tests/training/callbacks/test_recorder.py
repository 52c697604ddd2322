import math
from pathlib import Path

import numpy as np
import pytest
import torch

from kd_lab import names
from kd_lab.errors import TrainingFailedError
from kd_lab.job.devices import Devices
from kd_lab.losses.common.labelled import labelled_mean
from kd_lab.losses.common.loss import Loss
from kd_lab.losses.hard_label import HardLabel
from kd_lab.losses.kd import KD
from kd_lab.losses.soft_label import SoftLabel
from kd_lab.training.objective import Objective, Term
from kd_lab.types import Batch, Outputs
from tests.training.toys import ONE_PROCESS, BadAt, Lines, Plain, kd, toy_data, toy_recipe, train


class Counting(Loss):
    """A loss that is 1 in the first step, 2 in the second, and so on."""

    def __init__(self, *, pulls: bool = True) -> None:
        super().__init__()
        self.calls = 0
        self.pulls = pulls

    def compute(self, student: Outputs, teacher: Outputs, batch: Batch) -> torch.Tensor:
        self.calls += 1
        pull = student.logits.sum()
        return self.pulls * (pull - pull.detach()) + self.calls


def counted(weight: float = 1.0) -> Objective:
    return Objective({"counting": Term(Counting(), weight)}, 0.0)


@pytest.mark.parametrize(
    ("every", "curve"),
    [
        (1, {1: 1.0, 2: 2.0, 3: 3.0, 4: 4.0, 5: 5.0, 6: 6.0, 7: 7.0}),
        (3, {3: 2.0, 6: 5.0, 7: 7.0}),
        (5, {5: 3.0, 7: 6.5}),
        (7, {7: 4.0}),
        (100, {7: 4.0}),
    ],
)
def test_recorder__each_point_is_the_mean_since_the_one_before_the_last_window_may_be_short(
    every: int, curve: dict[int, float]
) -> None:
    sink = Lines()
    train(Plain(), teacher=Plain(1), objective=counted(0.5), recipe=toy_recipe(steps=7), sink=sink, every=every)
    assert sink.curve(names.train_loss("counting")) == curve  # before its weight
    assert sink.curve(names.TRAIN_LOSS_TOTAL) == {step: value / 2 for step, value in curve.items()}


def test_recorder__the_total_and_every_term_by_name_and_nothing_else() -> None:
    sink = Lines()
    objective = Objective({"counting": Term(Counting(), 0.5), "soft_label": Term(SoftLabel(), 2.0)}, 0.25)

    train(Plain(), teacher=Plain(1), objective=objective, sink=sink)

    for _, values in sink.points:
        hard, counting, soft = (values[f"train/loss_{n}"] for n in ("hard", "counting", "soft_label"))
        assert values["train/loss_total"] == pytest.approx(0.25 * hard + 0.5 * counting + 2.0 * soft, rel=1e-5)
        assert values.keys() == {
            "train/loss_total",
            "train/loss_hard",
            "train/loss_counting",
            "train/loss_soft_label",
            "train/learning_rate",
        }


def test_recorder__windows_of_one_and_of_four_tell_the_same_story() -> None:
    fine, coarse = Lines(), Lines()
    for sink, every in ((fine, 1), (coarse, 4)):
        train(Plain(), teacher=Plain(1), recipe=toy_recipe(steps=8), sink=sink, every=every)
    steps = list(fine.curve("train/loss_kd").values())
    assert coarse.curve("train/loss_kd") == pytest.approx({4: np.mean(steps[:4]), 8: np.mean(steps[4:])}, rel=1e-6)


def test_recorder__keys_are_renamed_for_a_member_of_an_ensemble() -> None:
    sink = Lines()
    train(Plain(), sink=sink, rename=lambda key: names.of_member(2, key))
    assert {key for _, values in sink.points for key in values} == {
        "member_2/train/loss_total",
        "member_2/train/loss_hard",
        "member_2/train/learning_rate",
    }


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf], ids=["nan", "inf", "minus inf"])
@pytest.mark.parametrize("every", [1, 4, 100])
@pytest.mark.parametrize("bad_step", [1, 2, 4, 5, 9])
def test_recorder__a_loss_that_is_not_finite_stops_with_its_step_and_term(
    value: float, every: int, bad_step: int
) -> None:
    sink = Lines()
    objective = Objective({"fine": Term(Counting(), 1.0), "ill": Term(BadAt(bad_step, value), 1.0)}, 1.0)

    with pytest.raises(TrainingFailedError) as failure:
        train(Plain(), teacher=Plain(1), objective=objective, recipe=toy_recipe(steps=9), sink=sink, every=every)

    message = str(failure.value)
    assert message.startswith(f"training stopped at step {bad_step}: the loss term 'ill' became {value}; ")
    assert "\n" not in message
    assert sink.all_finite()
    whole_windows_before = list(range(every, bad_step, every))
    assert list(sink.curve(names.TRAIN_LOSS_TOTAL)) == whole_windows_before


def test_recorder__a_total_that_overflows_where_no_term_does_is_named_total() -> None:
    objective = Objective({"counting": Term(Counting(pulls=False), 1e38)}, 0.0)  # 4e38 is beyond float32
    with pytest.raises(TrainingFailedError, match=r"at step 4: the loss term 'total' became inf"):
        train(Plain(), teacher=Plain(1), objective=objective)


def test_recorder__a_diverging_training_is_stopped_by_its_own_loss() -> None:
    """No staged value: a learning rate that is far too high."""
    sink = Lines()
    with pytest.raises(TrainingFailedError, match=r"the loss term '(hard|kd)' became (nan|inf)"):
        train(
            Plain(),
            teacher=Plain(1),
            objective=kd(),
            recipe=toy_recipe(lambda p: torch.optim.SGD(p, lr=1e38), steps=30),
            sink=sink,
            every=4,
        )
    assert sink.all_finite()


def test_recorder__validation_of_a_network_that_broke_puts_nothing_in_the_curves() -> None:
    """The epoch ends inside the window: validation would speak before the loss is looked at."""
    sink = Lines()
    objective = Objective({"ill": Term(Poison(2), 1.0)}, 0.0)
    with pytest.raises(TrainingFailedError, match=r"at step 2: the loss term 'ill' became nan"):
        train(
            Plain(),
            data=toy_data(24, validation=6),
            teacher=Plain(1),
            objective=objective,
            recipe=toy_recipe(steps=9),
            sink=sink,
            every=100,
        )
    assert sink.points == []


class Poison(BadAt):
    """A loss whose gradient is not finite either, so that the weights go with it."""

    def compute(self, student: Outputs, teacher: Outputs, batch: Batch) -> torch.Tensor:
        return super().compute(student, teacher, batch) * student.logits.sum()


class Interrupted:
    """Before a loss that counts its calls: Ctrl-C at the sixth."""

    def compute(self, student: Outputs, teacher: Outputs, batch: Batch) -> torch.Tensor:
        value = super().compute(student, teacher, batch)  # type: ignore[misc]
        if self.calls == 6:  # type: ignore[attr-defined]
            raise KeyboardInterrupt
        return value


def interrupted(loss: Loss) -> dict[int, float]:
    """The curve of a loss whose training, with windows of three steps, ends so."""
    sink = Lines()
    objective = Objective({"own": Term(loss, 1.0)}, 0.0)
    with pytest.raises(KeyboardInterrupt):
        train(Plain(), teacher=Plain(1), objective=objective, recipe=toy_recipe(steps=9), sink=sink, every=3)
    return sink.curve("train/loss_own")


def test_recorder__what_was_measured_before_an_interruption_is_handed_on() -> None:
    class Interrupting(Interrupted, Counting):
        """1, 2, 3, ..."""

    assert interrupted(Interrupting()) == {3: 2.0, 5: 4.5}


def test_recorder__a_window_with_a_bad_step_is_dropped_when_something_else_interrupts() -> None:
    class Interrupting(Interrupted, BadAt):
        """1, but no number at one step."""

    assert list(interrupted(Interrupting(5))) == [3]


class OfLabelled(Loss):
    """The mean row number of the labelled samples of a batch, 0 where there is none."""

    labelled_only = True

    def compute(self, student: Outputs, teacher: Outputs, batch: Batch) -> torch.Tensor:
        return 0 * student.logits.sum() + labelled_mean(batch.index.float(), batch.targets)


class OfAll(OfLabelled):
    """The mean row number of all samples."""

    labelled_only = False

    def compute(self, student: Outputs, teacher: Outputs, batch: Batch) -> torch.Tensor:
        return 0 * student.logits.sum() + batch.index.float().mean()


def of_rows() -> Objective:
    return Objective({"labelled": Term(OfLabelled(), 1.0), "all": Term(OfAll(), 1.0)}, 1.0)


@pytest.mark.parametrize("every", [2, 6, 100])
def test_recorder__terms_of_labelled_samples_are_means_over_these_alone(every: int) -> None:
    """Five of 24 samples have a label: a mean over the batches' means counted those without any as 0."""
    sink = Lines()
    data = toy_data(labelled=5, unlabelled=19)

    train(
        Plain(),
        teacher=Plain(1),
        data=data,
        objective=of_rows(),
        recipe=toy_recipe(steps=6, batch_size=4),
        sink=sink,
        every=every,
    )

    if every == 100:  # one epoch
        assert sink.curve("train/loss_labelled") == {6: pytest.approx(2.0)}  # rows 0 to 4
        assert sink.curve("train/loss_all") == {6: pytest.approx(11.5)}
    hard = sink.curve("train/loss_hard")
    assert set(hard) == set(sink.curve("train/loss_labelled"))
    assert all(value > 0.1 for value in hard.values())


def test_recorder__a_window_without_a_label__has_no_value_of_the_hard_labels() -> None:
    sink = Lines()
    data = toy_data(labelled=1, unlabelled=23)
    train(
        Plain(), teacher=Plain(1), data=data, objective=of_rows(), recipe=toy_recipe(steps=6, batch_size=4), sink=sink
    )
    assert len(sink.curve("train/loss_all")) == len(sink.curve("train/loss_total")) == 6
    assert len(sink.curve("train/loss_hard")) == len(sink.curve("train/loss_labelled")) == 1
    assert list(sink.curve("train/loss_labelled").values()) == [0.0]  # row 0


def test_recorder__an_incomplete_batch_counts_by_its_samples() -> None:
    sink = Lines()
    data = toy_data(labelled=10)
    train(
        Plain(),
        teacher=Plain(1),
        data=data,
        objective=of_rows(),
        recipe=toy_recipe(steps=2, batch_size=8),
        sink=sink,
        every=2,
    )
    assert sink.curve("train/loss_all") == {2: pytest.approx(4.5)}


@pytest.mark.slow
def test_recorder__two_processes_tell_the_curves_of_one(tmp_path: Path) -> None:
    found = []
    for devices in (ONE_PROCESS, Devices("cpu", 2, "ddp_spawn")):
        sink = Lines(tmp_path / f"{devices.count}")
        data = toy_data(labelled=5, unlabelled=18)
        recipe = toy_recipe(steps=6, batch_size=7)  # 23 samples: batches of 7, 7, 7 and 2, shared unevenly
        objective = Objective({**of_rows().terms, "kd": Term(KD(temperature=2.0), 0.5)}, 0.3)
        train(
            Plain(),
            teacher=Plain(1),
            data=data,
            objective=objective,
            recipe=recipe,
            sink=sink,
            every=3,
            devices=devices,
        )
        found.append(sink.points)
    one, two = found
    assert [step for step, _ in one] == [step for step, _ in two] == [3, 6]
    for (_, alone), (_, together) in zip(one, two, strict=True):
        assert {"train/loss_hard", "train/loss_labelled", "train/loss_kd"} <= alone.keys()
        assert together == pytest.approx(alone, rel=1e-5)


class Ill(Plain):
    """A teacher that answers with NaN from one call on; another class takes over in argmax, so some losses are fine."""

    def __init__(self, call: int, value: float) -> None:
        super().__init__(1)
        self.call, self.value, self.calls = call, value, 0

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        logits = super().forward(inputs)
        if self.calls >= self.call:
            logits = logits.clone()
            logits[-1, 0] = self.value
        return logits


@pytest.mark.parametrize("value", [math.nan, math.inf], ids=["nan", "inf"])
@pytest.mark.parametrize("loss", [HardLabel(), KD(temperature=2.0)], ids=["hard_label", "kd"])
@pytest.mark.parametrize("every", [1, 4, 100])
def test_recorder__a_teacher_that_does_not_answer_with_numbers_is_told_by_name(
    loss: Loss, every: int, value: float
) -> None:
    sink = Lines()
    objective = Objective({"soft": Term(loss, 1.0)}, 1.0)
    with pytest.raises(
        TrainingFailedError, match=rf"^training stopped at step 5: the teacher answered with a logit of {value}"
    ):
        train(Plain(), teacher=Ill(5, value), objective=objective, recipe=toy_recipe(steps=9), sink=sink, every=every)
    assert sink.all_finite()


def test_recorder__a_class_that_the_teacher_masks_is_no_fault() -> None:
    sink = Lines()
    objective = Objective({"soft": Term(HardLabel(), 1.0)}, 1.0)
    train(Plain(), teacher=Ill(1, -math.inf), objective=objective, recipe=toy_recipe(steps=3), sink=sink)
    assert len(sink.points) == 3
