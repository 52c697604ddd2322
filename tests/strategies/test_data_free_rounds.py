"""DeepInversion and CMI: each term against NumPy, the bank, that a round lowers what it minimises, and its state."""

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import kd_lab
from kd_lab.errors import UserError
from kd_lab.losses.kd import KD
from kd_lab.strategies.common.asked import Watched
from kd_lab.strategies.common.free.bank import Bank
from kd_lab.strategies.common.free.contrast import contrast, disagreement, enlarged
from kd_lab.strategies.common.free.inversion import competition, variation
from kd_lab.strategies.common.strategy import AsksItself, Parties, Training
from kd_lab.strategies.data_free import METHODS, DataFree
from kd_lab.training.objective import Objective, Term
from kd_lab.types import Batch
from tests.contracts.steps import check_step

CPU = torch.device("cpu")
ROUNDS = ["deep_inversion", "cmi"]
FEW = {"every": 2, "inner_steps": 3, "samples": 6, "bank": 10}
LOW, HIGH = -1.0, 3.0


def network(seed: int) -> nn.Sequential:
    """Its BatchNorm remembers something, and has seen values of the data's range."""
    torch.manual_seed(seed)
    made = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(4 * 64, 6),
        nn.BatchNorm1d(6),
        nn.ReLU(),
        nn.Linear(6, 3),
    )
    for _ in range(20):
        made(LOW + (HIGH - LOW) * torch.rand(16, 1, 8, 8))
    return made


def example(count: int) -> torch.Tensor:
    return torch.linspace(LOW, HIGH, count * 64).reshape(count, 1, 8, 8)


def step(method: Any, seed: int = 0, **settings: Any) -> Any:
    made = unattached(method, seed, **settings)
    made.attach(CPU)
    made.train()
    return made


def unattached(method: Any, seed: int = 0, **settings: Any) -> Any:
    training = Training(
        network=network(0),
        objective=Objective({"kd": Term(KD(temperature=2.0))}, 0.0),
        teachers=(),
        networks=(network(1).eval(),),
        taps=(),
        peers=(),
        data=SimpleNamespace(num_classes=3, example=example),  # type: ignore[arg-type]
        validation=None,
        steps=4,
        seed=seed,
    )
    return DataFree(method, **(FEW | settings)).step(training)


def batch(value: float = 0.0, first: int = 0) -> Batch:
    return Batch(torch.full((8, 1, 8, 8), value), torch.arange(8) % 3, torch.arange(first, first + 8))


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def test_competition__is_the_divergence_of_the_paper_at_temperature_3() -> None:
    student, teacher = 6 * np.random.default_rng(0).normal(size=(2, 5, 4))
    p, q = softmax(student / 3), softmax(teacher / 3)
    m = (p + q) / 2
    expected = 0.5 * (p * np.log(p / m)).sum(axis=1) + 0.5 * (q * np.log(q / m)).sum(axis=1)
    found = competition(torch.tensor(student), torch.tensor(teacher))
    assert float(found) == pytest.approx(-expected.mean(), rel=1e-5)


def test_competition__of_networks_with_nothing_in_common__is_minus_ln_2() -> None:
    """Probabilities that are cut to 0.01..0.99, as in the authors' code, would give another number."""
    sure = torch.tensor([[300.0, 0.0]])
    assert float(competition(sure, sure.flip(1))) == pytest.approx(-math.log(2), rel=1e-6)
    assert float(competition(sure, sure)) == pytest.approx(0.0, abs=1e-7)


def test_competition__its_gradient_by_both_networks_is_that_of_the_equation() -> None:
    student, teacher = torch.randn(2, 5, 4, dtype=torch.float64).requires_grad_().unbind(0)

    def by_hand(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        p, q = (student / 3).softmax(1), (teacher / 3).softmax(1)
        m = (p + q) / 2
        return -0.5 * ((p * (p / m).log()).sum(1) + (q * (q / m).log()).sum(1)).mean()

    for found, expected in zip(
        torch.autograd.grad(competition(student, teacher), (student, teacher)),
        torch.autograd.grad(by_hand(student, teacher), (student, teacher)),
        strict=True,
    ):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-7)


def test_variation__as_numpy_says() -> None:
    pictures = np.random.default_rng(0).normal(size=(3, 2, 5, 4))
    expected = []
    for x in pictures:
        sums = np.zeros(4)
        for c, i, j in np.ndindex(2, 5, 4):
            for way, (down, right) in enumerate([(0, 1), (1, 0), (1, 1), (1, -1)]):
                if i + down < 5 and 0 <= j + right < 4:
                    sums[way] += (x[c, i, j] - x[c, i + down, j + right]) ** 2
        expected.append(np.sqrt(sums).sum())
    assert float(variation(torch.tensor(pictures))) == pytest.approx(np.mean(expected), rel=1e-9)


def test_variation__0_of_what_is_even_and_of_what_is_no_picture() -> None:
    assert float(variation(torch.full((2, 1, 4, 4), 3.0))) == 0.0
    assert float(variation(torch.randn(4, 7))) == 0.0


def test_variation__does_not_depend_on_the_size_of_the_batch() -> None:
    pictures = torch.randn(3, 1, 5, 5)
    assert float(variation(torch.cat([pictures] * 4))) == pytest.approx(float(variation(pictures)), rel=1e-6)


@pytest.mark.parametrize("count", [4, 7])
def test_contrast__as_numpy_says(count: int) -> None:
    vectors = np.random.default_rng(0).normal(size=(2, 7, 5))
    local, whole = vectors / np.linalg.norm(vectors, axis=2, keepdims=True)
    powers = np.exp(local @ whole.T / 0.1)
    losses = -np.log(np.diag(powers) / powers.sum(axis=1))
    expected = losses[:count].mean() + (losses[count:].mean() if count < 7 else 0.0)
    assert float(contrast(torch.tensor(local), torch.tensor(whole), count)) == pytest.approx(expected, rel=1e-9)


def test_contrast__of_samples_with_nothing_in_common() -> None:
    apart = torch.eye(6, dtype=torch.float64)
    assert float(contrast(apart, apart, 6)) == pytest.approx(math.log1p(5 * math.exp(-10)), rel=1e-9)


def test_disagreement__counts_where_both_say_the_same() -> None:
    student = np.array([[2.0, 0.0, 1.0], [0.0, 3.0, 1.0]])
    teacher = np.array([[1.0, 0.5, 0.0], [4.0, 0.0, 1.0]])
    p, q = softmax(teacher), softmax(student)
    expected = -(p[0] * np.log(p[0] / q[0])).sum() / 2
    assert float(disagreement(torch.tensor(student), torch.tensor(teacher))) == pytest.approx(expected, rel=1e-6)


def test_enlarged__as_torch_brings_a_piece_to_size() -> None:
    pictures = torch.randn(3, 2, 8, 6, dtype=torch.float64)
    boxes = torch.tensor([[0, 0, 8, 6], [2, 1, 4, 5], [5, 4, 1, 2]])
    found = enlarged(pictures, boxes)
    for picture, (top, left, height, width), one in zip(pictures, boxes.tolist(), found, strict=True):
        piece = picture[None, :, top : top + height, left : left + width]
        expected = F.interpolate(piece, size=(8, 6), mode="bilinear", align_corners=False)[0]
        torch.testing.assert_close(one, expected, rtol=1e-9, atol=1e-9)


def test_watched__means_of_each_sample() -> None:
    teacher = network(1).eval()
    watched = Watched(teacher, 3, means=True)
    watched.attach()
    inputs = torch.rand(5, 1, 8, 8)
    watched(inputs)
    watched.remove()
    with torch.no_grad():
        first, second = teacher[0](inputs), teacher[:5](inputs)
        torch.testing.assert_close(watched.means, torch.cat([first.mean(dim=(2, 3)), second], dim=1))
    assert watched.samples == 5


def test_bank__oldest_first_and_the_oldest_is_forgotten() -> None:
    bank = Bank(5)
    for start in (0, 3, 6):
        new = torch.arange(start, start + 3)
        bank.add(new, 10 * new[:, None])
    assert bank.columns[0].tolist() == [4, 5, 6, 7, 8]
    assert bank.columns[1].flatten().tolist() == [40, 50, 60, 70, 80]
    assert bank.columns[0].untyped_storage().nbytes() == 5 * 8


@pytest.mark.slow
@pytest.mark.parametrize("method", ROUNDS)
def test_round__lowers_what_it_minimises_within_the_bounds(method: str) -> None:
    totals, made = [], None
    for inner_steps in (1, 80):
        made = step(method, inner_steps=inner_steps, samples=24, bank=24, learning_rate=0.02)
        made.make()
        drawn = torch.randint(3, (24,), generator=made.random(1))
        share = float((made.bank.columns[1].argmax(dim=1) == drawn).float().mean())
        assert made.readings()["inversion_accuracy"] == pytest.approx(share)
        totals.append(sum(weight * made._losses[name] for name, weight in made.making.weights.items()))
    assert totals[1] < 0.8 * totals[0]
    assert made is not None
    samples = made.bank.columns[0]
    assert LOW <= float(samples.min()) < float(samples.max()) <= HIGH


@pytest.mark.parametrize("method", ROUNDS)
def test_round__leaves_the_student_and_the_teacher_alone(method: str) -> None:
    made = step(method)
    made.network[6].eval()
    before = {name: one.clone() for name, one in made.network.state_dict().items()}
    before_teacher = {name: one.clone() for name, one in made.frozen.module.state_dict().items()}
    made.make()
    assert all(torch.equal(before[name], one) for name, one in made.network.state_dict().items())
    assert all(torch.equal(before_teacher[name], one) for name, one in made.frozen.module.state_dict().items())
    assert all(parameter.grad is None for parameter in made.network.parameters())
    assert [part.training for part in made.network] == [True] * 6 + [False, True]


def test_round__of_cmi__moves_the_head() -> None:
    made = step("cmi")
    before = [one.detach().clone() for one in made.head.parameters()]
    made.make()
    assert all(not torch.equal(a, b) for a, b in zip(before, made.head.parameters(), strict=True))


def test_round__of_cmi__compares_with_what_was_made_before() -> None:
    alone, beside = step("cmi", inner_steps=1), step("cmi", inner_steps=1)
    for made, steps in ((alone, (2,)), (beside, (0, 2))):
        for number in steps:
            made.at_step(number, 4)
            made._head[0].load_state_dict(step("cmi").head.state_dict())
            made.make()
    assert alone._losses["one_hot"] == beside._losses["one_hot"]
    assert beside._losses["contrast"] > alone._losses["contrast"]


@pytest.mark.parametrize("method", ROUNDS)
def test_step__keeps_the_contract(method: str) -> None:
    check_step(lambda: unattached(method), batch())


@pytest.mark.parametrize("method", ROUNDS)
def test_step__the_same_whatever_the_data_are(method: str) -> None:
    values = []
    for inputs in (0.0, 5.0):
        made = step(method)
        made.at_step(0, 4)
        values.append(float(made(batch(inputs)).total.detach()))
    assert values[0] == values[1] > 0


def test_step__teaches_what_the_teacher_said_of_samples_of_the_bank() -> None:
    made, seen = step("deep_inversion"), []
    made.objective.register_forward_pre_hook(lambda _module, given: seen.append(given[1:]))
    for first in (0, 8):  # two batches of one step
        made.at_step(0, 4)
        made(batch(first=first))
    assert len(made.bank) == FEW["samples"], "one round for a step of the optimizer, of however many batches"
    inputs, logits = made.bank.columns
    with torch.no_grad():
        torch.testing.assert_close(logits, made.frozen.module(inputs))
    for taught, shown in seen:
        rows = [next(i for i, one in enumerate(inputs) if torch.equal(one, shown_one)) for shown_one in shown.inputs]
        assert torch.equal(taught.logits, logits[rows])
        assert set(shown.targets.tolist()) == {-100}
    assert not torch.equal(seen[0][1].inputs, seen[1][1].inputs)


@pytest.mark.parametrize("method", ROUNDS)
def test_step__state__goes_on_as_if_it_had_not_ended(method: str) -> None:
    """Rounds before and after, and a bank that has forgotten some."""
    whole, first = step(method), step(method)
    for number in range(6):
        whole.at_step(number, 6)
        expected = float(whole(batch()).total.detach())
    for number in range(3):
        first.at_step(number, 6)
        first(batch())
    second = step(method)
    second.load_state_dict(first.state_dict())
    assert second.readings() == first.readings()
    second.release()
    second.attach(CPU)
    for number in range(3, 6):
        second.at_step(number, 6)
        found = float(second(batch()).total.detach())
    assert len(second.bank) == FEW["bank"]
    assert found == expected
    assert all(torch.equal(a, b) for a, b in zip(second.bank.columns, whole.bank.columns, strict=True))
    assert second.teacher_samples == whole.teacher_samples
    assert second.readings() == whole.readings()


@pytest.mark.parametrize(("method", "expected"), [("deep_inversion", 2 * (3 * 6 + 6)), ("cmi", 2 * (3 * 2 * 6 + 6))])
def test_step__counts_what_the_teacher_answered(method: str, expected: int) -> None:
    """Two rounds of three inner steps with 6 samples, of which CMI has two views; each once more for the bank."""
    made = step(method)
    assert isinstance(made, AsksItself)
    for number in range(4):
        made.at_step(number, 4)
        made(batch())
    assert made.teacher_samples == expected


def test_figures__the_newest_of_the_bank() -> None:
    made = step("deep_inversion")
    assert made.figures() == {}, "nothing was made yet"
    made.make()
    assert list(made.figures()) == ["figures/made_samples.png"]
    assert torch.equal(made.shown(), made.bank.columns[0][-64:])


def test_methods__weights_are_those_of_the_reference() -> None:
    weights = {name: dict(METHODS[name].making.weights) for name in ("deep_inversion", "cmi")}
    assert weights == {
        "deep_inversion": {"one_hot": 1, "statistics": 10, "adversarial": 1, "variation": 4e-4, "l2": 1e-5},
        "cmi": {"one_hot": 0.5, "statistics": 1, "adversarial": 0.5, "contrast": 0.8},
    }


def test_check__cmi_of_what_is_no_picture_is_refused() -> None:
    data = SimpleNamespace(num_classes=3, example=lambda count: torch.zeros(count, 2, 9))
    teacher, objective = network(1), Objective({"kd": Term(KD())}, 0.0)
    parties = Parties(teacher, network(0), (), (), objective, compares_layers=False, data=data)  # type: ignore[arg-type]
    DataFree("deep_inversion").check(parties)
    with pytest.raises(ValueError, match=r"^method=cmi: compares two crops of a picture, .+ has shape \[2, 9\]; expec"):
        DataFree("cmi").check(parties)


@pytest.mark.parametrize(
    ("overrides", "complaint"),
    [
        (["teacher=mlp", "strategy.method=deep_inversion"], r"^strategy\.method=deep_inversion: reads what BatchNorm "),
        (["teacher=mlp", "strategy.method=cmi"], r"^strategy\.method=cmi: reads what BatchNorm layers remember"),
        (["strategy.bank=10"], r"^strategy\.bank=10: expected null, as method=dafl has none"),
        (["strategy.method=deep_inversion", "strategy.noise=9"], r"^strategy\.noise=9: expected null, as method=deep_"),
        (["strategy.method=cmi", "strategy.bank=10"], r"^strategy\.bank=10: expected >= samples=128"),
        (["strategy.method=cmi", "strategy.inner_steps=0"], r"^strategy\.inner_steps=0: expected > 0"),
    ],
)
def test_job__that_cannot_be_is_refused(overrides: list[str], complaint: str, tmp_path: Any, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    teacher = [] if any(one.startswith("teacher=") for one in overrides) else ["teacher=cnn"]
    with pytest.raises(UserError, match=complaint):
        kd_lab.distil("strategy=data_free", "baseline=false", *teacher, *overrides, quiet=True)
    assert not list(tmp_path.iterdir())
