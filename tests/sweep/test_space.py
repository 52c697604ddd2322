"""What a search looks through: from YAML, from the command line, and what is refused."""

import re

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from kd_lab.errors import UserError
from kd_lab.job.arguments import expand
from kd_lab.job.search_settings import Dimension, SearchSettings
from kd_lab.job.strict import parsed
from kd_lab.sweep.space import Space, space_of

YAML = {"loss.temperature": {"low": 1.0, "high": 20.0, "log": True}, "loss.hard_weight": {"low": 0.0, "high": 1.0}}


def space(*typed: str, yaml: object = YAML) -> Space:
    settings = parsed("sweep.search", {"space": yaml}, SearchSettings)
    return space_of(settings, OverridesParser.create().parse_overrides(expand(list(typed))))


def test_space__of_the_yaml() -> None:
    found = space("dataset=digits")
    assert found.dimensions == {key: Dimension(**node) for key, node in YAML.items()}  # type: ignore[arg-type]
    told = found.overrides({"loss.temperature": 4.5, "loss.hard_weight": 0.1})
    assert told == ["dataset=digits", "++loss.temperature=4.5", "loss.hard_weight=0.1"]


def test_space__a_value_on_the_command_line_is_fixed() -> None:
    found = space("loss.temperature=4")
    assert list(found.dimensions) == ["loss.hard_weight"]
    assert found.fixed == ("++loss.temperature=4",)


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("loss.temperature=interval(2,8)", {"low": 2.0, "high": 8.0}),
        ("loss.temperature=tag(log,interval(2,8))", {"low": 2.0, "high": 8.0, "log": True}),
        ("loss.temperature=int(interval(2,8))", {"low": 2, "high": 8}),
        ("loss.temperature=range(2,5)", {"choices": [2, 3, 4]}),
        ("loss.temperature=1,2,4", {"choices": ["1", "2", "4"]}),
        ("loss=kd,dkd", {"choices": ["kd", "dkd"]}),
        ("loss=choice(kd,dkd)", {"choices": ["kd", "dkd"]}),
        ("student.widths=[16],[32,8]", {"choices": ["[16]", "[32,8]"]}),
        ("+student.width=int(interval(8,64))", {"low": 8, "high": 64}),
    ],
)
def test_space__hydras_own_words(typed: str, expected: dict[str, object]) -> None:
    key = typed.partition("=")[0].lstrip("+")
    assert space(typed).dimensions[key] == Dimension(**expected)  # type: ignore[arg-type]


def test_space__a_new_key_keeps_its_plus_and_what_it_implies() -> None:
    found = space("+student.width=int(interval(8,64))", yaml=None)
    assert found.overrides({"student.width": 9}) == ["+student.width=9"]
    found = space(yaml={"student.recipe.epochs": {"low": 3, "high": 9}, "student.widths": {"choices": [[16], [32]]}})
    told = found.overrides({"student.recipe.epochs": 4, "student.widths": [16]})
    assert told == ["student.recipe.steps=null", "student.recipe.epochs=4", "student.widths=[16]"]


def test_corners__every_end_and_every_choice() -> None:
    found = space("loss=kd,dkd,dist")
    assert found.corners() == [
        {"loss.temperature": 1.0, "loss.hard_weight": 0.0, "loss": "kd"},
        {"loss.temperature": 20.0, "loss.hard_weight": 1.0, "loss": "dkd"},
        {"loss.temperature": 20.0, "loss.hard_weight": 1.0, "loss": "dist"},
    ]


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ({"low": 3, "high": 1}, "sweep.search.space.x: expected low to be at most high, but 3 is more than 1"),
        ({"low": 0, "high": 1, "log": True}, "sweep.search.space.x: log: expected low to be above 0, and no step"),
        ({"low": 1}, "sweep.search.space.x: expected low and high, or choices"),
        ({"choices": []}, "sweep.search.space.x: expected choices: [...], with at least one and nothing beside"),
        ({"low": 1, "high": 2, "lag": True}, "sweep.search.space.x.lag=True: no such key; did you mean log?"),
        ({"low": 1, "high": 2, "step": -1}, "sweep.search.space.x: step=-1: expected more than 0"),
    ],
)
def test_dimension__refused(node: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        space(yaml={"x": node})


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("seed=0,1", "seed=0,1: is not searched for; expected sweep.search.final_seeds=[1,2,3]"),
        ("dataset.seed=0,1", "dataset.seed=0,1: is not searched for; expected one value for all"),
        ("loss=glob(*)", "loss=glob(*): expected the names of the choices, separated by commas"),
    ],
)
def test_space__refused(typed: str, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        space(typed)


def test_space__nothing_to_search() -> None:
    with pytest.raises(UserError, match="there is nothing to search"):
        space("loss=kd", yaml=None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"objectives": ["cost/macs"]}, "sweep.search: objectives: expected one of them to be val/accuracy_top1 or"),
        ({"objectives": ["test/accuracy_top1"]}, "sweep.search.objectives=test/accuracy_top1: expected 'val/accu"),
        ({"final_seeds": [1, 1]}, "sweep.search: objectives and final_seeds: expected each one once"),
        ({"trials": 0}, "sweep.search.trials=0: expected a value greater than 0"),
    ],
)
def test_search_settings__refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        parsed("sweep.search", change, SearchSettings)
