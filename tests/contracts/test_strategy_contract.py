"""Every strategy of conf/strategy, on the demo with its defaults: it ends, resumes exactly, and says what it cost.

The test file of one that the demo's own settings do not fit says in DEMO what it needs beside them; that of one with
methods that have a state of their own says in ALSO what else chooses them.
"""

import copy
import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow import MlflowClient

import kd_lab.job.train
from kd_lab import names
from kd_lab.job.api import run_alone
from kd_lab.job.arguments import parse
from kd_lab.job.compose import Config, composing
from kd_lab.job.console import Reporter
from kd_lab.job.plan import Plan
from kd_lab.job.ready import ready
from kd_lab.job.settings import Settings
from kd_lab.models.common.weights import weights_sha256
from kd_lab.strategies.common.strategy import Training
from kd_lab.teachers.frozen import FrozenTeacher
from kd_lab.training.module import TrainingModule
from kd_lab.types import RunResult
from tests.contracts.plugins import with_target
from tests.contracts.steps import check_step

STRATEGIES = with_target("strategy")


def settings(strategy: str) -> list[str]:
    """What chooses it, and its methods."""
    tests = importlib.import_module(f"tests.strategies.test_{strategy}")
    needed = " ".join([strategy, *getattr(tests, "DEMO", [])])
    return [needed, *(f"{needed} {method}" for method in getattr(tests, "ALSO", []))]


CHOICES = [pytest.param(one, id=one.replace("strategy.", "")) for name in STRATEGIES for one in settings(name)]
STEPS, INTERRUPTED_AT = 6, 3
SMALL = [
    "teacher=cnn",
    "student.widths=[32,32]",  # of two stages, for strategy=self
    f"teacher.recipe.steps={STEPS}",
    f"student.recipe.steps={STEPS}",
    "dataset.validation=100",
    "baseline=false",
    "trainer.threads=1",
    "tracking.every_n_steps=2",
    "checkpoint.every_s=1e-9",
    "measure.latency_runs=1",
    "measure.latency_warmup=1",
    "measure.throughput_batch=1",
    "measure.figures=false",
    "study=s",
]


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Iterator[str]:
    """One store for all, so that they share the teacher, and a folder of its own to run in."""
    folder = tmp_path_factory.mktemp("strategies")
    (folder / "mlflow.db").write_bytes(empty_store.read_bytes())
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield f"sqlite:///{folder / 'mlflow.db'}"


@pytest.fixture(scope="module")
def configs(uri: str) -> Callable[[str], Config]:
    """The config of a strategy's job, by what chooses it."""
    found: dict[str, Config] = {}

    def config(strategy: str) -> Config:
        if strategy not in found:
            options = parse([*SMALL, f"tracking.uri={uri}", *f"strategy={strategy}".split()])
            with composing(options) as compose:
                found[strategy] = compose.single(options.overrides, "one")
        return copy.deepcopy(found[strategy])

    return config


def run(config: Config) -> RunResult:
    reporter = Reporter()
    reporter.console.quiet = True
    return run_alone(config, reporter)


def training_of(plan: Plan) -> Training:
    """What the strategy is given for the job's student, with teachers that nobody has trained."""
    assert plan.built is not None
    built, recipe = plan.built, plan.recipe("student.recipe", plan.settings.student.recipe, len(plan.student_rows()))
    tutors = [one.built for one in plan.taught_by if one.built is not None]
    networks = tuple(one.teacher for one in tutors if one.teacher is not None)
    return Training(
        built.student,
        built.bound.objective,
        tuple(FrozenTeacher(one.teacher, one.bound.teacher_taps) for one in tutors if one.teacher is not None),
        networks,
        built.bound.student_taps,
        built.peers,
        plan.data,
        plan.feed(plan.data.validation, recipe, seed=0, workers=0),
        recipe.steps,
        seed=0,
        pairs=built.bound.pairs,
    )


@pytest.mark.parametrize("strategy", CHOICES)
def test_step__keeps_the_contract(strategy: str, configs: Callable[[str], Config]) -> None:
    plan = ready(Settings.of(configs(strategy)))
    recipe = plan.recipe("student.recipe", plan.settings.student.recipe, len(plan.student_rows()))
    batch = next(iter(plan.feed(plan.student_rows(), recipe, 0, plan.built.bound.views, workers=0)))  # type: ignore[union-attr]

    check_step(lambda: plan.strategy.step(training_of(copy.deepcopy(plan))), batch)


class Interruptions:
    """Ends the job at the fourth step of the first training in it that has not been ended there before."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.is_on, self.fell = True, 0
        self._from_the_start: list[TrainingModule] = []
        original = TrainingModule._count

        def count(module: TrainingModule, *args: Any) -> None:
            if module.steps_done == 0:
                self._from_the_start.append(module)
            if self.is_on and module.steps_done == INTERRUPTED_AT and module in self._from_the_start:
                self.fell += 1
                raise KeyboardInterrupt
            original(module, *args)

        patch.setattr(TrainingModule, "_count", count)


@pytest.fixture
def interruptions(monkeypatch: pytest.MonkeyPatch) -> Interruptions:
    return Interruptions(monkeypatch)


@pytest.fixture
def tutors(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Of each network that taught, the hash of its weights before and after the lesson."""
    found: list[tuple[str, str]] = []
    original = kd_lab.job.train.distil

    def distil(plan: Plan, *args: Any, **named: Any) -> Any:
        networks = [one.built.teacher for one in plan.taught_by if one.built and one.built.teacher is not None]
        before = [weights_sha256(network) for network in networks]
        cost = original(plan, *args, **named)
        found.extend(zip(before, map(weights_sha256, networks), strict=True))
        return cost

    monkeypatch.setattr(kd_lab.job.train, "distil", distil)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("strategy", CHOICES)
def test_job__ends_leaves_its_teachers_alone_and_resumes_exactly(
    strategy: str,
    uri: str,
    configs: Callable[[str], Config],
    interruptions: Interruptions,
    tutors: list[tuple[str, str]],
) -> None:
    config, result = configs(strategy), None
    while result is None:
        try:
            result = run(config)
        except KeyboardInterrupt:
            assert interruptions.fell < 10, "the same training falls again"
    assert interruptions.fell >= 1

    interruptions.is_on = False
    config["teacher"]["reuse"] = False
    whole = run(config)

    assert [one.weights_sha256 for one in whole.all()] == [one.weights_sha256 for one in result.all()]
    assert tutors
    assert all(before == after for before, after in tutors), "a teacher's weights changed"
    known = {one.weights_sha256 for one in (*whole.links, whole.teacher) if one is not None}
    assert {before for before, _ in tutors} <= known
    told = [MlflowClient(uri).get_run(one.student.run_id).data.metrics for one in (result, whole)]
    for logged in told:
        assert logged[names.COST_CHAIN_WALL_S] >= logged[names.COST_TRAIN_WALL_S]
        assert torch.isfinite(torch.tensor([*logged.values()])).all()
    asked, asked_at_once = (logged.get(names.COST_TEACHER_SAMPLES) for logged in told)
    assert asked == asked_at_once, "samples are counted otherwise after an interruption"
