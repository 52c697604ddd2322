"""Who goes on with whose network and which values: closed forms, invariants, and a toy whose answer is known."""

import numpy as np
import pytest

from kd_lab.errors import UserError
from kd_lab.job.search_settings import Dimension, PopulationSettings
from kd_lab.sweep.population import Member, Rules, check_dimensions, history, lineage, ranked

SPACE = {"x": Dimension(low=1.0, high=100.0, log=True), "w": Dimension(low=0.0, high=1.0)}


def rules(population: int = 10, seed: int = 0, **settings: object) -> Rules:
    return Rules(SPACE, PopulationSettings(population=population, **settings), seed)  # type: ignore[arg-type]


def test_first__evenly_over_the_range_or_its_logarithm() -> None:
    members = rules(4000).first()
    x, w = (np.array([member.values[key] for member in members]) for key in ("x", "w"))

    assert [member.parent for member in members] == list(range(4000))
    # The deciles of 4000 even draws lie within four standard errors, 4 * sqrt(p * (1 - p) / 4000) < 0.032.
    deciles = np.arange(0.1, 1.0, 0.1)
    assert np.quantile(np.log(x) / np.log(100), deciles) == pytest.approx(deciles, abs=0.032)
    assert np.quantile(w, deciles) == pytest.approx(deciles, abs=0.032)
    assert rules(4000).first() == members
    assert rules(4000, seed=1).first() != members


@pytest.mark.parametrize(
    ("population", "truncation", "replaced"),
    [(2, 0.2, 1), (5, 0.2, 1), (8, 0.2, 2), (10, 0.2, 2), (30, 0.1, 3), (5, 0.5, 2)],
)
def test_following__so_many_of_the_worst_become_the_best(population: int, truncation: float, replaced: int) -> None:
    of = rules(population, truncation=truncation)
    before = of.first()
    scores: list[float | None] = [float(number) for number in range(population)]
    after = of.following(1, before, scores)

    assert [member.parent for member in after[replaced:]] == list(range(replaced, population))
    assert [member.values for member in after[replaced:]] == [member.values for member in before[replaced:]]
    assert {member.parent for member in after[:replaced]} <= set(range(population - replaced, population))


def test_following__each_value_is_that_of_the_parent_times_a_factor_within_its_range() -> None:
    of = rules(40, truncation=0.5)
    before = of.first()
    seen = set()
    for number in range(1, 30):
        for member in of.following(number, before, [float(n) for n in range(40)])[:20]:
            for key, low, high in (("x", 1.0, 100.0), ("w", 0.0, 1.0)):
                parent, own = before[member.parent].values[key], member.values[key]
                possible = {factor: min(max(parent * factor, low), high) for factor in (0.8, 1.2)}
                (factor,) = [f for f, value in possible.items() if own == pytest.approx(value, rel=1e-3)]
                seen.add((key, factor))
    assert seen == {("x", 0.8), ("x", 1.2), ("w", 0.8), ("w", 1.2)}


def test_following__whose_loss_is_not_finite_is_replaced__however_many_they_are() -> None:
    of = rules(5, truncation=0.2)
    after = of.following(1, of.first(), [None, 0.3, None, None, 0.5])

    assert [member.parent for member in after] == [4, 1, 4, 4, 4]


def test_following__equals_with_a_factor_of_1_stay_what_they_are() -> None:
    of = rules(5, perturb=[1.0, 1.0])
    before = [Member(number, {"x": 2.0, "w": 0.5}) for number in range(5)]

    after = of.following(1, before, [0.5] * 5)

    assert [member.values for member in after] == [member.values for member in before]
    assert [member.parent for member in after] == [0, 1, 2, 3, 0], "of equal ones the first is better"


def test_ranked__the_best_first_and_none_without_a_score() -> None:
    assert ranked([0.1, None, 0.9, 0.1]) == [2, 0, 3]


def test_lineage__back_to_the_first_round() -> None:
    rounds = [
        [Member(0, {"x": 1.0}), Member(1, {"x": 2.0}), Member(2, {"x": 3.0})],
        [Member(1, {"x": 2.4}), Member(1, {"x": 2.0}), Member(2, {"x": 3.0})],
        [Member(0, {"x": 2.4}), Member(1, {"x": 2.0}), Member(0, {"x": 1.92})],
    ]

    assert [lineage(rounds, member) for member in range(3)] == [[1, 0, 0], [1, 1, 1], [1, 0, 2]]
    assert history(rounds, 2) == [{"x": 2.0}, {"x": 2.4}, {"x": 1.92}]
    assert history(rounds[:1], 2) == [{"x": 3.0}]


def test_population__finds_the_rate_of_a_parabola() -> None:
    """On theta^2 a step of descent is theta * (1 - 2 * rate): the right rate is 0.5, and ends it at once."""
    of = Rules({"rate": Dimension(low=1e-4, high=0.45, log=True)}, PopulationSettings(population=10), 3)
    members, weights = of.first(), np.ones(10)
    fixed = [(1 - 2 * member.values["rate"]) ** 20 for member in members]
    for number in range(1, 21):
        rates = np.array([member.values["rate"] for member in members])
        weights = weights * (1 - 2 * rates)
        if number < 20:
            members = of.following(number, members, list(-(weights**2)))
            weights = weights[[member.parent for member in members]]

    assert max(member.values["rate"] for member in members) == 0.45
    assert weights.min() < 0.1 * min(fixed)


@pytest.mark.parametrize(
    "dimension", [Dimension(choices=[1, 2]), Dimension(low=1, high=20), Dimension(low=0.0, high=1.0, step=0.1)]
)
def test_dimensions__nothing_between_two_values__refused(dimension: Dimension) -> None:
    with pytest.raises(UserError, match=r"loss\.temperature: sweep=pbt multiplies values, so it cannot search choices"):
        check_dimensions({"loss.temperature": dimension})
