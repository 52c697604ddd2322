"""Several teachers: each way of combining them against NumPy, one teacher many times, and what a job of it leaves."""

import math
from typing import Any, get_args

import numpy as np
import pytest
import torch
from mlflow import MlflowClient

import kd_lab
from kd_lab import names
from kd_lab.errors import UserError
from kd_lab.losses.dkd import DKD
from kd_lab.losses.kd import KD
from kd_lab.losses.mse_logits import MSELogits
from kd_lab.losses.ps_kd import PSKD
from kd_lab.strategies.common.combining import by_confidence, by_entropy, mean_probability, min_norm, weighted
from kd_lab.strategies.several import Combine, Several
from kd_lab.training.distiller import Distiller
from kd_lab.training.objective import Objective, Term
from kd_lab.types import UNLABELLED, Batch, Mixed, Outputs
from tests.contracts.steps import check_step
from tests.reference import losses_numpy as reference
from tests.strategies.trainings import batch, gradients, parties, started, teachers, training
from tests.training.toys import Plain, kd

A, B = {"_target_": "a"}, {"_target_": "b"}
WAYS = get_args(Combine)
EXACT = {"random", "mean_logit"}
"""Of two equal teachers plain distillation bit for bit; of the others up to rounding."""

Z = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64) * 2
"""What three teachers say of five samples and four classes."""


def made(combine: Any, count: int = 3) -> Several:
    weights = [1.0, 2.0, 5.0][:count] if combine == "weighted" else None
    return Several([A, B][: count - 1], combine=combine, weights=weights)


# One teacher many times is that teacher.


@pytest.mark.parametrize("combine", WAYS)
@pytest.mark.parametrize("count", [2, 3])
def test_equal_teachers__are_one(combine: Combine, count: int) -> None:
    student = Plain()
    plain = Distiller(student, kd(), teacher=training(student, (Plain(1),)).teacher)
    several = made(combine, count).step(training(student, (Plain(1),) * count))
    value, expected = gradients(plain, student, batch())
    got, found = gradients(several, student, batch())
    if combine in EXACT and count == 2:
        assert got == value
        assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    torch.testing.assert_close((got, found), (value, expected), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("combine", WAYS)
def test_step__keeps_the_contract(combine: Combine) -> None:
    check_step(lambda: made(combine).step(training(Plain(), teachers(3))), batch())


# Each way, by its equation.


def test_mean_probability__is_the_mean_at_temperature_1() -> None:
    expected = np.mean([reference.softmax(z.numpy()) for z in Z], axis=0)
    np.testing.assert_allclose(mean_probability(Z).exp(), expected, rtol=1e-12)


def test_weighted__its_kd_gradient_is_that_of_the_weighted_losses() -> None:
    student = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    weights = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
    target = weighted(Z, weights.unsqueeze(1).expand(3, 5), temperature=3.0)
    loss = KD(temperature=3.0)(Outputs(student), Outputs(target), batch())
    (found,) = torch.autograd.grad(loss, student)
    each = [reference.kd_gradient(student.detach().numpy(), z.numpy(), 3.0) for z in Z]
    np.testing.assert_allclose(found, np.tensordot(weights.numpy(), each, 1), rtol=1e-9, atol=1e-12)


def test_entropy__who_is_sure_counts_more() -> None:
    entropy = np.array([[-np.sum(p * np.log(p)) for p in reference.softmax(z.numpy())] for z in Z])
    np.testing.assert_allclose(by_entropy(Z), (1 - entropy / entropy.sum(axis=0)) / 2, rtol=1e-12)
    sure = torch.tensor([[[0.0, -math.inf]], [[0.0, -math.inf]]])
    assert by_entropy(sure).tolist() == [[0.5], [0.5]]


def test_confidence__who_is_right_counts_more_and_all_alike_without_a_label() -> None:
    targets = torch.tensor([0, 3, UNLABELLED, 1, 2])
    found = by_confidence(Z, Batch(torch.zeros(5, 1), targets, torch.arange(5)))
    for sample, label in enumerate(targets.tolist()):
        losses = np.array([-np.log(reference.softmax(z.numpy())[sample, max(label, 0)]) for z in Z])
        expected = (1 - np.exp(losses) / np.exp(losses).sum()) / 2
        expected = np.full(3, 1 / 3) if label == UNLABELLED else expected
        np.testing.assert_allclose(found[:, sample], expected, rtol=1e-12)


def test_confidence__of_mixed_samples__by_the_mixed_cross_entropy() -> None:
    targets, others = torch.tensor([0, 3, UNLABELLED, 1, 2]), torch.tensor([1, 1, 1, 1, UNLABELLED])
    found = by_confidence(Z, Batch(torch.zeros(5, 1), targets, torch.arange(5), mixed=Mixed(others, 0.75)))
    for sample in (0, 1, 3):
        p = [reference.softmax(z.numpy())[sample] for z in Z]
        losses = np.array([-0.75 * np.log(q[targets[sample]]) - 0.25 * np.log(q[others[sample]]) for q in p])
        np.testing.assert_allclose(found[:, sample], (1 - np.exp(losses) / np.exp(losses).sum()) / 2, rtol=1e-12)
    torch.testing.assert_close(found[:, [2, 4]], torch.full((3, 2), 1 / 3, dtype=torch.float64))


@pytest.mark.parametrize(
    ("gradients_of", "cap", "expected"),
    [
        ([[1.0, 0.0], [0.0, 2.0]], 1.0, [0.8, 0.2]),  # orthogonal: as 1 / |g|^2
        ([[1.0, 0.0], [0.0, 2.0]], 0.6, [0.6, 0.4]),
        ([[1.0, 0.0], [3.0, 0.0]], 1.0, [1.0, 0.0]),  # the shorter of two that agree
        ([[1.0, 0, 0], [0, 2.0, 0], [0, 0, 4.0]], 1.0, [16 / 21, 4 / 21, 1 / 21]),
        ([[1.0, 0, 0], [0, 2.0, 0], [0, 0, 4.0]], 0.6, [0.6, 0.32, 0.08]),  # what the cap leaves, as 1 / |g|^2
        ([[0.0, 0.0], [0.0, 0.0]], 0.6, [0.5, 0.5]),
    ],
)
def test_min_norm__is_exact(gradients_of: list[list[float]], cap: float, expected: list[float]) -> None:
    g = torch.tensor(gradients_of, dtype=torch.float64) * 1e-3
    np.testing.assert_allclose(min_norm(g @ g.T, cap), expected, atol=1e-6)


def test_min_norm__of_the_step__weighs_the_soft_gradients_with_regard_to_the_logits() -> None:
    student, three = Plain(), teachers(3)
    step: Any = started(made("min_norm").step(training(student, three, kd(0.9, 0.5, 2.0))))
    step(batch())
    inputs = batch().inputs
    logits = student(inputs).detach().double().numpy()
    each = [reference.kd_gradient(logits, one(inputs).detach().double().numpy(), 2.0).ravel() for one in three]
    g = torch.tensor(np.array(each))
    shares = [step.readings()[f"share_of_teacher_{i}"] for i in (1, 2, 3)]
    np.testing.assert_allclose(shares, min_norm(g @ g.T, 0.6), atol=1e-4)


@pytest.mark.parametrize("combine", ["weighted", "entropy", "confidence"])
def test_combined__at_the_temperature_of_the_loss_as_it_is_now(combine: Combine) -> None:
    """The gradient is that of the losses to each, weighed by sample, also after the temperature has moved."""
    student, three = Plain(), teachers(3)
    objective = kd(1.0, 0.0, temperature=2.0)
    step: Any = started(made(combine).step(training(student, three, objective)))
    objective.losses["kd"].temperature = 5.0
    own = student(batch().inputs)
    (found,) = torch.autograd.grad(step(batch()).total, student.layers[2].bias)
    said = torch.stack([one(batch().inputs) for one in three])
    by = {"entropy": by_entropy(said), "confidence": by_confidence(said, batch())}
    weights = by.get(combine, torch.tensor([0.125, 0.25, 0.625]).unsqueeze(1).expand(3, 9)).detach()
    p_s, p_t = (own / 5).softmax(-1), (said / 5).softmax(-1)
    expected = 5 * (weights.unsqueeze(-1) * (p_s - p_t)).sum(0).sum(0) / 9  # the bias moves all logits alike
    torch.testing.assert_close(found, expected.detach(), rtol=1e-4, atol=1e-5)
    assert sum(v for k, v in step.readings().items() if k.startswith("share_of")) == pytest.approx(1)


def test_random__one_is_asked_by_seed_and_step() -> None:
    asked: list[int] = []
    three = teachers(3)
    for number, one in enumerate(three):
        one.register_forward_hook(lambda *_, number=number: asked.append(number))
    step: Any = made("random").step(training(Plain(), three))
    for _ in range(2):
        for number in range(30):
            started(step, number)(batch())
    assert asked[:30] == asked[30:]
    assert {*asked} == {0, 1, 2}


# What is refused.

REMEMBERS = PSKD(num_classes=3, targets=torch.zeros(24, dtype=torch.int64))


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"teachers": []}, r"`teachers` to be one network or more"),
        ({"combine": "median"}, r"`combine` to be one of mean_probability, .*, but got median"),
        ({"combine": "weighted"}, r"`weights` to be given with combine=weighted and there alone, but got None"),
        ({"weights": [1.0, 1.0]}, r"`weights` to be given with combine=weighted and there alone"),
        ({"combine": "weighted", "weights": [0.0, 0.0]}, r"finite numbers >= 0, not all of them 0"),
        ({"cap": 0.0}, r"`cap` to be in \(0, 1\], but got 0.0"),
    ],
)
def test_several__bad_settings(settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Several(**({"teachers": [A]} | settings))


@pytest.mark.parametrize(
    ("strategy", "terms", "more", "complaint"),
    [
        (Several([A]), {"kd": KD()}, {"teacher": None}, r"^teachers: one teacher alone \(teacher=none\)"),
        (Several([A], combine="weighted", weights=[1, 1, 1]), {"kd": KD()}, {}, r"^weights=\[1, 1, 1\]: expected 2"),
        (Several([A], combine="min_norm", cap=0.4), {"kd": KD()}, {}, r"^cap=0.4: 2 teachers cannot make up"),
        (Several([A]), {"kd": KD()}, {"compares_layers": True}, r"^teachers: a loss of layers is bound to one network"),
        (Several([A]), {"kd": KD(), "ps_kd": REMEMBERS}, {}, r"^teachers: loss=ps_kd remembers each sample"),
        (Several([A]), {"mse": MSELogits()}, {}, r"^combine=mean_probability: gives probabilities, and loss=mse comp"),
        (
            Several([A], combine="entropy"),
            {"kd": KD(temperature=2.0), "dkd": DKD(temperature=4.0)},
            {},
            r"^combine=entropy: combines at one temperature, and the loss has kd at 2, dkd at 4",
        ),
    ],
)
def test_check__refuses(strategy: Several, terms: dict[str, Any], more: dict[str, Any], complaint: str) -> None:
    objective = Objective({name: Term(loss) for name, loss in terms.items()}, 0.1)
    with pytest.raises(ValueError, match=complaint):
        strategy.check(parties(Plain(), more.pop("teacher", Plain(1)), objective, **more))


SHORT = [
    "strategy=several",
    "teacher=mlp",
    "teacher.recipe.steps=40",
    "student.recipe.steps=40",
    "measure.latency_runs=1",
    "baseline=false",
    "trainer.threads=1",
]
FOREST = "{sklearn:{estimator:{_target_:sklearn.ensemble.RandomForestClassifier,n_estimators:30},answers:out_of_bag}}"


@pytest.mark.parametrize(
    ("overrides", "complaint"),
    [
        ("strategy.teachers=[mlp_64,mlp_64]", r"^strategy\.teachers: mlp 64 is named twice, the job's own teacher cou"),
        ("strategy.teachers=[mlp]", r"^strategy\.teachers: mlp 32 is named twice, the job's own teacher counted"),
        (
            f"strategy.teachers=[{FOREST}] student.recipe.augment=true",
            r"^teacher\.answers: what a teacher says out of bag belongs to samples as they are",
        ),
    ],
)
def test_job__that_cannot_be_is_refused(overrides: str, complaint: str, tmp_path: Any, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=complaint):
        kd_lab.distil(*SHORT, *overrides.split(), quiet=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_job__teachers_of_any_kinds_are_runs_of_their_own_that_any_job_finds_again(
    tmp_path: Any, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    chosen = [f"strategy.teachers=[mlp_64,{FOREST}]", "strategy.combine=confidence"]
    result = kd_lab.distil(*SHORT, *chosen, quiet=True)
    alone = ["strategy=none", "teacher.widths=[64]", "teacher.seed=101"]
    again = kd_lab.distil(*[one for one in SHORT if not one.startswith("strategy")], *alone, quiet=True)
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    found = client.search_runs([client.get_experiment_by_name("digits").experiment_id])
    theirs = {run.data.params["network"]: run for run in found if run.data.tags[names.TAG_ROLE] == names.TEACHER}
    assert theirs.keys() == {"mlp 32", "mlp 64", "RandomForestClassifier"}
    assert again.teacher is not None
    assert again.teacher.reused
    assert again.teacher.run_id == theirs["mlp 64"].info.run_id
    student = client.get_run(result.student.run_id).data
    assert student.params["loss_name"] == "several:kd"
    assert student.tags[names.TAG_LINK_RUN] == theirs["RandomForestClassifier"].info.run_id
    shares = [student.metrics[f"train/share_of_teacher_{i}"] for i in (1, 2, 3)]
    assert sum(shares) == pytest.approx(1)
    assert len({*shares}) == 3
    walls = [run.data.metrics[names.COST_TRAIN_WALL_S] for run in theirs.values()]
    whole = sum(walls) + student.metrics[names.COST_TRAIN_WALL_S]
    assert student.metrics[names.COST_CHAIN_WALL_S] == pytest.approx(whole)
