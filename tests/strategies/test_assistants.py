"""A chain of assistants: who is taught by whom, what is refused, and what a job of it leaves in the store."""

import pytest
from mlflow import MlflowClient

import kd_lab
from kd_lab import names
from kd_lab.errors import UserError
from kd_lab.strategies.assistants import Assistants
from kd_lab.strategies.common.strategy import Link

SHORT = [
    "strategy=assistants",
    "teacher=mlp",
    "teacher.widths=[96]",
    "teacher.recipe.epochs=2",
    "student.recipe.epochs=2",
    "measure.latency_runs=1",
    "baseline=false",
]
A, B = {"_target_": "a"}, {"_target_": "b"}


def test_links__each_learns_from_the_one_before_it() -> None:
    strategy = Assistants([A, B])
    assert strategy.links() == (Link(A, (0,)), Link(B, (1,)))
    assert strategy.taught_by() == (2,)


def test_links__dense__each_learns_from_all_before_it() -> None:
    strategy = Assistants([A, B], dense=True)
    assert strategy.links() == (Link(A, (0,)), Link(B, (0, 1)))
    assert strategy.taught_by() == (0, 1, 2)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"path": []}, r"`path` to be one network or more"),
        ({"path": [A], "dense": True, "drop": 1.0}, r"`drop` to be in \[0, 1\), but got 1.0"),
        ({"path": [A], "drop": 0.5}, r"`drop` to be 0 where one network teaches \(dense=false\), but got 0.5"),
    ],
)
def test_assistants__bad_settings(settings: dict, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Assistants(**settings)


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        (
            "strategy.path=[mlp_8]",
            r"^strategy\.path: the student has 2,410 parameters, not fewer than assistant 1 with",
        ),
        (
            "strategy.path=[mlp_128]",
            r"^strategy\.path: assistant 1 has 9,610 parameters, not fewer than the teacher wi",
        ),
        ("strategy.path=[nlp_8]", r"^strategy\.path=nlp_8: conf/model has no such network"),
        ("teacher=none", r"^teacher=none: the strategy begins with a teacher"),
        ("loss=none", r"^loss=none: asks no teacher, and strategy=assistants says who teaches"),
        ("strategy.path=mlp_64", r"^strategy\.path=mlp_64: expected a list of networks"),
    ],
)
def test_job__that_cannot_be_is_refused(override, complaint, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=complaint):
        kd_lab.distil(
            *[one for one in SHORT if override != "teacher=none" or "widths" not in one], override, quiet=True
        )
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_job__assistant_is_a_run_of_its_own_and_found_again(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    first = kd_lab.distil(*SHORT, quiet=True)
    again = kd_lab.distil(*SHORT, "seed=1", quiet=True)
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    found = client.search_runs([client.get_experiment_by_name("digits").experiment_id])
    by_role = {role: [run for run in found if run.data.tags[names.TAG_ROLE] == role] for role in names.ROLES}
    (assistant,) = [run for run in found if run.data.tags[names.TAG_ROLE] == names.ASSISTANT]
    assert assistant.info.status == "FINISHED"
    assert assistant.data.params["network"] == "mlp 64"
    assert len(by_role[names.STUDENT]) == 2
    for result in (first, again):
        student = client.get_run(result.student.run_id).data
        assert student.tags[names.TAG_LINK_RUN] == assistant.info.run_id
        assert student.params["loss_name"] == "assistants:kd"
        walls = [one.data.metrics[names.COST_TRAIN_WALL_S] for one in (*by_role[names.TEACHER], assistant)]
        whole = sum(walls) + student.metrics[names.COST_TRAIN_WALL_S]
        assert student.metrics[names.COST_CHAIN_WALL_S] == pytest.approx(whole)
