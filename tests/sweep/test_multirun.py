"""Grids: which jobs a command makes, and what is refused."""

import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest

from kd_lab.cli.main import _main
from kd_lab.errors import UserError
from kd_lab.job.arguments import parse
from kd_lab.job.compose import composing
from kd_lab.job.settings import Settings
from kd_lab.sweep.multirun import _repeated, listed, swept
from kd_lab.sweep.states import JobFolder
from kd_lab.sweep.sweep import _release, hold, new_sweep_id, sweep_id, title
from kd_lab.sweep.workers import Workers, share, threads_each, visible_gpus


def jobs_of(line: str) -> dict[str, Settings]:
    """The jobs of `kd-lab -m LINE` by their labels."""
    options = parse(["-m", *shlex.split(line)])
    with composing(options) as compose:
        _, overrides = swept(options.overrides, compose)
        return {job.label: Settings.of(job.config) for job in listed(overrides, compose)}


@pytest.mark.slow
def test_grid__seeds() -> None:
    jobs = jobs_of("sweep=seeds")
    assert list(jobs) == [f"seed={seed}" for seed in range(10)]
    assert [job.seed for job in jobs.values()] == list(range(10))


@pytest.mark.slow
def test_grid__losses() -> None:
    assert {job.seed for job in jobs_of("sweep=losses loss=kd").values()} == set(range(5))
    losses = {"+".join(job.loss.terms) for job in jobs_of("sweep=losses seed=0").values()}
    assert len(losses) == 12
    assert {"kd", "dist", "label_smoothing"} < losses


@pytest.mark.slow
@pytest.mark.parametrize("line", ["sweep=losses seed=0 dataset=digits", "loss=kd,soft_label dataset=digits"])
def test_losses_side_by_side__all_as_published(line: str) -> None:
    jobs = {"+".join(job.loss.terms): job for job in jobs_of(line).values()}
    assert jobs["kd"].loss.terms["kd"].node["temperature"] == 4
    assert (jobs["kd"].loss.terms["kd"].weight, jobs["kd"].loss.hard_weight) == (0.9, 0.1)
    for job in jobs.values():
        assert set(job.tuned) == {"baseline.recipe.batch_size", "baseline.recipe.optimizer.weight_decay"}


@pytest.mark.parametrize("line", ["seed=0,1", "loss=kd,soft_label 'tuned/loss=${dataset}_${loss}'"])
def test_one_loss__or_told_so__tuned(line: str) -> None:
    kd = next(job for job in jobs_of(f"dataset=digits {line}").values() if "kd" in job.loss.terms)
    assert kd.loss.terms["kd"].node["temperature"] == 2
    assert kd.tuned["loss.terms.kd.temperature"] == 2


@pytest.fixture
def no_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sweep begins without the process that would take its jobs: it takes seconds to start."""
    monkeypatch.setattr("kd_lab.sweep.workers.Workers.start", lambda _self: None)


@pytest.mark.slow
@pytest.mark.usefixtures("no_workers")
def test_losses_side_by_side__says_what_is_left_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("kd_lab.sweep.multirun._run", lambda *_: None)
    told = "The losses are compared as published, so conf/tuned/loss/digits_kd.yaml is left out; "
    assert _main(["-m", "loss=kd,dkd"]) == 0
    assert capsys.readouterr().out.startswith(told)
    for line in (["loss=kd,dkd", "dataset=synthetic"], ["loss=kd,dkd", "tuned/loss=none"], ["seed=0,1"]):
        assert _main(["-m", *line]) == 0
        assert capsys.readouterr().out == ""


@pytest.mark.slow
def test_grid__temperature_weight() -> None:
    jobs = jobs_of("sweep=temperature_weight seed=0,3 loss.temperature=4,20")
    assert "loss.temperature=4 loss.weight=0.5 seed=3" in jobs
    kd = [(job.loss.terms["kd"].node["temperature"], job.loss.terms["kd"].weight) for job in jobs.values()]
    weights = {0.1: 0.9, 0.5: 0.5, 0.9: 0.1, 1.0: 0.0}
    assert sorted(kd) == sorted((t, weight) for t in (4, 20) for weight in weights for _ in range(2))
    assert {job.loss.terms["kd"].weight: job.loss.hard_weight for job in jobs.values()} == weights


def test_grid__student_sizes() -> None:
    jobs = jobs_of("sweep=student_sizes seed=0").values()
    assert [job.student.node["widths"] for job in jobs] == [[16], [32], [64], [128], [256]]


@pytest.mark.slow
def test_grid__omitted_class() -> None:
    jobs = list(jobs_of("sweep=omitted_class seed=0").values())
    assert [job.loss.terms["kd"].node["temperature"] for job in jobs] == [1, 4, 8, 20]
    for job in jobs:
        assert (job.study, job.dataset["labels"]) == ("omitted_class", None)
        assert (job.student.without_classes, job.student.node["widths"]) == ([3], [64, 64])
        recipe = job.student.recipe
        assert (recipe.epochs, recipe.steps, recipe.batch_size, recipe.optimizer["lr"]) == (60, None, 32, 0.005)
        assert (job.loss.terms["kd"].weight, job.loss.hard_weight) == (1, 0)
        assert job.baseline is not None
        assert job.baseline.recipe.optimizer.weight_decay is None
        assert job.teacher is not None
        assert job.teacher.node["average"] == "logits"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["temperature_weight", "student_sizes", "omitted_class"])
def test_grid__has_a_study_of_its_own_name_unless_told(name: str) -> None:
    small = "seed=0 loss.temperature=2 " + ("student.widths=[16]" if name == "student_sizes" else "loss.weight=1")
    assert {job.study for job in jobs_of(f"sweep={name} {small}").values()} == {name}
    assert {job.study for job in jobs_of(f"sweep={name} {small} study=mine").values()} == {"mine"}


@pytest.mark.slow
def test_grid__what_the_user_says_wins() -> None:
    assert list(jobs_of("sweep=seeds seed=7")) == ["seed=7"]
    assert len(jobs_of("sweep=losses loss=kd seed=0,1")) == 2
    (job,) = jobs_of("sweep=temperature_weight loss.temperature=3 loss.weight=0.5 seed=0 loss.hard_weight=0.2").values()
    assert (job.loss.terms["kd"].node["temperature"], job.loss.hard_weight) == (3, 0.2)
    assert len(jobs_of("sweep=seeds seed=1,2 loss=kd,dist")) == 4


@pytest.mark.usefixtures("no_workers")
@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("sweep=seeds", "sweep=seeds: is a grid of jobs; expected -m before it: kd-lab -m sweep=seeds"),
        ("-m sweep=seed", "sweep=seed: no such sweep; did you mean seeds?"),
        ("-m seed=0,1 sweep.jobs=0", "sweep.jobs=0: expected a value greater than 0"),
        ("-m seed=0,1 sweep.jobs=1,2", "sweep.jobs=1,2: is one for all jobs of a sweep; expected a single value"),
        ("-m seed=0,1 sweep.resume=perhaps", "sweep.resume=perhaps: expected a valid boolean"),
        ("-m seed=0,1 sweep.job=2", "sweep.job=2: no such key; did you mean sweep.jobs?"),
        ("-m seed=0,1 sweep.jobs=2 trainer=ddp", "sweep.jobs=2: trainer=ddp trains each job in several processes"),
        ("-m seed=0,1 sweep.jobs=2 trainer=fsdp", "sweep.jobs=2: trainer=fsdp trains each job in several processes"),
        ("-m seed=0,1 sweep.cluster=pbs", "sweep.cluster=pbs: expected 'slurm' or 'local'"),
        ("-m seed=0,1 hydra/launcher=joblib", "hydra/launcher=joblib: kd-lab runs the jobs itself; expected sweep"),
        ("seed=0,1", "seed=0,1: is a sweep; expected -m before it, or a list"),
        (
            "-m loss.temperature=interval(1,2)",
            "loss.temperature=interval(1,2): expected values separated by commas",
        ),
        (
            "-m sweep=student_sizes student=cnn",
            "student.widths=[16]: no such key; student.widths is a setting of student=fcn or student=mlp",
        ),
    ],
)
def test_refused__in_one_sentence(
    line: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["kd-lab"])
    assert _main(shlex.split(line)) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"kd-lab: {message}")
    assert len(err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(shutil.which("sbatch") is not None, reason="there is a SLURM here")
@pytest.mark.usefixtures("no_workers")
@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("sweep.cluster=slurm", r"sweep.cluster=slurm: submitit cannot use this \(.*srun"),
        (
            "sweep.cluster=local sweep.resources.memory=3",
            r"sweep.cluster=local sweep.resources.memory=3: submitit cannot use this \(.*memory",
        ),
    ],
)
def test_cluster__what_submitit_cannot_use(
    more: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("submitit")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["kd-lab"])
    assert _main(["-m", "seed=0,1", *more.split()]) == 2
    assert re.match(f"kd-lab: {message}", capsys.readouterr().err)
    assert list(tmp_path.iterdir()) == []


def test_sweep_id__is_that_of_the_command_not_of_how_it_is_run() -> None:
    first = title(["-m", "seed=0,1", "loss=kd"])
    assert first == "sweep seed=0,1 loss=kd"
    assert title(["-m", "sweep=seeds", "sweep.jobs=2"]) == "sweep sweep=seeds"  # it chooses the grid
    assert title(["seed=0,1", "-m", "loss=kd", "sweep.jobs=4", "tracking.uri=sqlite:///x.db"]) == first
    assert sweep_id(first) == sweep_id(title(["loss=kd", "seed=0,1"])) != sweep_id(title(["seed=0,1,2", "loss=kd"]))
    assert new_sweep_id() != new_sweep_id()


@pytest.mark.parametrize("typed", ["study=für Elise", "dataset.path=it's/d.npz", "dataset.path=~/a=b.npz", "seed=0,1"])
def test_title__can_be_typed_again(typed: str) -> None:
    assert shlex.split(title(["-m", typed])) == ["sweep", typed]
    assert sweep_id(title(["-m", typed])) == sweep_id(title([typed, "-m"]))


def test_grid__a_path_is_a_value_and_a_comma_a_sweep() -> None:
    jobs = jobs_of('dataset=arrays "dataset.path=jörg/a.npz,it\'s/b.npz"')
    assert [job.dataset["path"] for job in jobs.values()] == ["jörg/a.npz", "it's/b.npz"]
    assert list(jobs) == ['dataset.path="jörg/a.npz"', 'dataset.path="it\'s/b.npz"']
    assert {job.study for job in jobs_of("'study=für Elise' seed=0,1").values()} == {"für Elise"}


def test_grid__the_same_value_twice_is_one_job_and_told() -> None:
    assert list(jobs_of("seed=0,0,1")) == ["seed=0", "seed=1"]
    options = parse(["-m", "seed=0,0,1", "loss=kd,dkd"])
    with composing(options) as compose:
        _, overrides = swept(options.overrides, compose)
    assert list(_repeated(overrides)) == ["seed=0,0,1: 0 stands there 2 times, and is run once"]


def test_threads__are_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert [threads_each(jobs) for jobs in (1, 2, 3, 8, 20)] == [None, 4, 2, 1, 1]
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert [threads_each(jobs) for jobs in (1, 2, 4, 8)] == [None, 2, 2, 1]


def test_gpus__each_process_has_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, GPU-5f")
    assert [share(3, place)["CUDA_VISIBLE_DEVICES"] for place in range(3)] == ["3", "GPU-5f", "3"]
    assert share(1, 0) == {}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert share(2, 1) == {"OMP_NUM_THREADS": "1"}
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    for name in ("0000:01:00.0", "0000:02:00.0"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr("kd_lab.sweep.workers.GPUS", tmp_path)
    assert visible_gpus() == ["0", "1"]
    monkeypatch.setattr("kd_lab.sweep.workers.GPUS", tmp_path / "none")
    assert visible_gpus() == []


def test_gpus__a_process_that_takes_the_place_of_another_has_its_gpu(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given: list[str] = []

    class Started:
        pid = 0

        def __init__(self, *_: object, env: dict[str, str], **__: object) -> None:
            given.append(env["CUDA_VISIBLE_DEVICES"])

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6")
    monkeypatch.setattr("kd_lab.sweep.workers.subprocess.Popen", Started)
    workers = Workers(JobFolder(tmp_path), 3)
    first, second, _ = (workers.start() for _ in range(3))
    workers._all.remove(second)
    workers.start()
    workers._all.remove(first)
    workers.start()
    assert given == ["4", "5", "6", "5", "4"]


@pytest.mark.slow
def test_hold__the_same_sweep_twice_at_once(tmp_path: Path) -> None:
    configs = [{"tracking": {"uri": f"sqlite:///{tmp_path}/mlflow.db"}, "study": study} for study in ("a", "b", "b")]
    try:
        hold(configs[:1], "one")
        hold(configs, "another")
        with pytest.raises(UserError, match=r"^study=a: this sweep is running already; .* sweep\.resume=false"):
            hold(configs, "one")
    finally:
        _release()
    hold(configs, "one")
    _release()
