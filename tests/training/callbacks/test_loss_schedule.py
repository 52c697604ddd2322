from kd_lab.losses.kd import KD
from kd_lab.training.objective import Objective, Term
from tests.training.toys import Lines, Plain, toy_recipe, train


def falling(step: int, *, base: float, total_steps: int) -> float:
    return base * (1 - step / total_steps)


def test_loss_schedule__sets_every_step_from_the_first_and_is_in_the_curves() -> None:
    sink = Lines()
    term = Term(KD(temperature=4.0), 1.0, schedules={"temperature": falling})

    train(Plain(), teacher=Plain(1), objective=Objective({"kd": term}, 0.1), recipe=toy_recipe(steps=4), sink=sink)

    assert sink.curve("train/kd_temperature") == {1: 4.0, 2: 3.0, 3: 2.0, 4: 1.0}


def test_loss_schedule__nothing_scheduled_is_nothing_logged() -> None:
    sink = Lines()

    train(Plain(), teacher=Plain(1), recipe=toy_recipe(steps=2), sink=sink)

    assert {key for _, values in sink.points for key in values} == {
        "train/loss_total",
        "train/loss_hard",
        "train/loss_kd",
        "train/learning_rate",
    }
