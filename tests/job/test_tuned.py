"""Settings that nobody typed are named wherever they act."""

import pytest

from kd_lab.job.arguments import parse
from kd_lab.job.compose import composing
from kd_lab.job.tuned import of_role, sentence

LOSS = {"loss.terms.kd.temperature": 2.0, "loss.terms.kd.weight": 1.0, "loss.terms.kd.hard_weight": 0.0}
BASELINE = {"baseline.recipe.batch_size": 32, "baseline.recipe.optimizer.weight_decay": 0.001}


def tuned(*overrides: str) -> dict[str, object]:
    options = parse(list(overrides))
    with composing(options) as compose:
        found: dict[str, object] = compose(options.overrides)["tuned"]
    return found


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ([], BASELINE | LOSS),
        (["loss=dkd"], BASELINE),
        (["tuned/loss=none"], BASELINE),
        (["tuned=none"], LOSS),
        (["baseline=false", "loss=[kd,at]"], {}),
        (["dataset=synthetic"], {}),
        (["loss.temperature=4", "baseline=false"], {k: v for k, v in LOSS.items() if "temperature" not in k}),
        (["loss.hard_weight=0.5", "tuned=none"], {k: v for k, v in LOSS.items() if "hard_weight" not in k}),
        (["baseline.recipe.batch_size=64", "loss=at"], {"baseline.recipe.optimizer.weight_decay": 0.001}),
    ],
)
def test_tuned__what_still_acts(overrides: list[str], expected: dict[str, object]) -> None:
    assert tuned(*overrides) == expected


def test_sentence__names_settings_and_the_way_out() -> None:
    assert sentence(LOSS | BASELINE, "digits") == (
        "tuned for digits: kd temperature=2 weight=1 hard_weight=0 (tuned/loss=none leaves it out); "
        "student alone batch_size=32 weight_decay=0.001 (tuned=none leaves it out)"
    )


def test_of_role__to_each_run_its_own() -> None:
    both = LOSS | BASELINE
    assert of_role(both, "student") == "temperature=2 weight=1 hard_weight=0"
    assert of_role(both, "baseline") == "batch_size=32 weight_decay=0.001"
    assert of_role(both, "teacher") == ""
