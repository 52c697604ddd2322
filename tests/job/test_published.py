"""The pairs of CIFAR-100 papers: their recipe, the weights of each loss, who wins, and that all that acts is named."""

import re
from pathlib import Path
from typing import Any

import pytest

from kd_lab import names
from kd_lab.analysis.published import figures
from kd_lab.job.arguments import expand, parse
from kd_lab.job.catalogue import choices_of, conf_dir, description
from kd_lab.job.compose import composing
from kd_lab.job.published import described, short, tags
from kd_lab.job.settings import Settings

TABLE = [name for name in choices_of("experiment") if name.startswith("cifar100/")]
BY_DKD = "cifar100/vgg13_vgg8"
FAST = (BY_DKD, "cifar100/resnet32x4_shuffle_v1")
OF_BENCHMARK = {
    "fitnet": (100, 1),
    "at": (1000, 1),
    "sp": (3000, 1),
    "cc": (0.02, 1),
    "vid": (1, 1),
    "rkd": (1, 1),
    "pkt": (30000, 1),
    "ab": (1, 1),
    "ft": (200, 1),
    "fsp": (50, 1),
    "nst": (50, 1),
    "kdsvd": (1, 1),
    "crd": (0.8, 1),
    "ofd": (0.001, 1),
    "review": (5, 1),
    "dkd": (1, 1),
    "dist": (2, 1),
}
"""By loss its weight and that of the hard labels, of resnet32x4 to resnet8x4."""


def composed(*overrides: str) -> dict[str, Any]:
    options = parse(list(overrides))
    with composing(options) as compose:
        return compose(options.overrides)


def settings(*overrides: str) -> Settings:
    return Settings.of(composed(*overrides))


def test_pairs__those_of_the_table() -> None:
    assert len(TABLE) == 13


@pytest.mark.parametrize(
    "experiment",
    [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in TABLE],
)
def test_pair__recipe_of_teacher_student_and_student_alone(experiment: str) -> None:
    config = composed(f"experiment={experiment}")

    slow = experiment.endswith(("mobilenet_v2", "shuffle_v1", "shuffle_v2"))
    for role, lr in (("teacher", 0.05), ("student", 0.01 if slow else 0.05)):
        recipe = config[role]["recipe"]
        optimizer, schedule = recipe["optimizer"], recipe["schedule"]
        assert optimizer["_target_"] == "torch.optim.SGD"
        assert [optimizer[key] for key in ("lr", "momentum", "nesterov", "weight_decay")] == [lr, 0.9, False, 5e-4]
        assert (recipe["epochs"], recipe["steps"], recipe["batch_size"], recipe["augment"]) == (240, None, 64, True)
        assert [240 * share for share in schedule["milestones"]] == [150, 180, 210]
        assert (schedule["factor"], schedule["warmup_steps"]) == (0.1, 0)
    assert Settings.of(config).baseline is not None
    assert all(value is None for key, value in config["baseline"]["recipe"].items() if key != "optimizer")
    assert (config["dataset"]["_target_"].rpartition(".")[2], config["dataset"]["validation"]) == ("Cifar100", 0)
    assert config["dataset"]["augment"]["padding"] == 4
    assert config["experiment"] == {"name": experiment, "changed": []}


@pytest.mark.parametrize("experiment", choices_of("experiment"))
def test_description__teacher_student_and_published_kd(experiment: str) -> None:
    of = figures(experiment)
    told = description("experiment", experiment)
    for loss in ("teacher", "alone", "kd"):
        if loss in of:
            assert f"{100 * of[loss].accuracy:.2f}".rstrip("0") in told


def test_loss__weights_of_the_benchmark() -> None:
    pair = "cifar100/resnet32x4_resnet8x4"
    terms = composed(f"experiment={pair}", f"loss=[{','.join(OF_BENCHMARK)}]")["loss"]["terms"]
    assert {name: (one["weight"], one["hard_weight"]) for name, one in terms.items()} == OF_BENCHMARK
    assert [round(terms[name]["schedules"]["weight"]["warmup_steps"] * 240) for name in ("dkd", "review")] == [20, 20]
    kd, ft = (composed(f"experiment={pair}", f"loss={name}")["loss"]["terms"][name] for name in ("kd", "ft"))
    assert [kd["weight"], kd["hard_weight"], kd["temperature"], ft["weight"]] == [0.9, 0.1, 4, 200]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pair", "expected"),
    [
        ("resnet56_resnet20", {"dkd.beta": 2, "review.weight": 0.6, "catkd.weight": 0.7, "catkd.normalize": False}),
        ("resnet110_resnet32", {"dkd.beta": 2, "review.weight": 1, "catkd.weight": 1.8}),
        ("wrn_40_2_wrn_16_2", {"dkd.beta": 6, "review.weight": 5, "catkd.weight": 12}),
        ("wrn_40_2_wrn_40_1", {"dkd.beta": 6, "review.weight": 5, "catkd.weight": 1.5}),
        ("vgg13_vgg8", {"dkd.beta": 6, "catkd.weight": 4.5}),
        ("vgg13_mobilenet_v2", {"dkd.beta": 6, "catkd.weight": 15, "catkd.normalize": True}),
        ("resnet32x4_resnet8x4", {"dkd.beta": 8, "review.weight": 5, "catkd.weight": 15, "catkd.normalize": False}),
        ("resnet50_mobilenet_v2", {"dkd.beta": 8, "review.weight": 30, "catkd.weight": 40}),
        ("resnet32x4_shuffle_v1", {"dkd.beta": 8, "review.weight": 5, "catkd.weight": 600, "catkd.resolution": 4}),
        ("resnet32x4_shuffle_v2", {"dkd.beta": 8, "review.weight": 8, "catkd.weight": 600, "catkd.resolution": 4}),
        ("wrn_40_2_shuffle_v1", {"dkd.beta": 8, "review.weight": 5, "catkd.weight": 80, "catkd.resolution": 4}),
    ],
)
def test_loss__of_the_pair(pair: str, expected: dict[str, object]) -> None:
    terms = composed(f"experiment=cifar100/{pair}", "loss=[dkd,review,catkd]")["loss"]["terms"]
    assert {key: terms[key.partition(".")[0]][key.partition(".")[2]] for key in expected} == expected


@pytest.mark.slow
@pytest.mark.parametrize(
    ("experiment", "loss", "expected"),
    [
        ("resnet32x4_resnet8x4", "kd", (2, 9)),
        ("vgg13_vgg8", "kd", (3, 9)),
        ("resnet110_resnet20", "kd", (4, 12)),
        ("resnet50_mobilenet_v2", "kd", (3, 1)),
        ("resnet32x4_resnet8x4", "dkd", (2, 9, 8)),
        ("vgg13_vgg8", "dkd", (2, 15, 2)),
        ("wrn_40_2_wrn_16_2", "dkd", (2, 12, 2)),
        ("resnet56_resnet20", "dkd", (3, 18, 2)),
        ("vgg13_mobilenet_v2", "dkd", (3, 9, 2)),
    ],
)
def test_standardized__temperature_weight_and_beta_of_the_pair(
    experiment: str, loss: str, expected: tuple[float, ...]
) -> None:
    config = composed(f"experiment=cifar100/{experiment}", f"loss={loss}", "loss.standardize=true")
    found = config["loss"]["terms"][loss]
    assert tuple(found[key] for key in ("temperature", "weight", "beta") if key in found) == expected
    assert found["hard_weight"] == (0.1 if loss == "kd" else 1)
    assert config["experiment"]["changed"] == []


@pytest.mark.slow
def test_published__is_named_where_it_acts_and_leaves_no_trace_elsewhere() -> None:
    inside = settings(f"experiment={BY_DKD}", "loss=dkd")
    assert inside.published == {"loss.terms.dkd.beta": 6.0}
    assert described(inside) == [f"published for {BY_DKD}: dkd beta=6 (published=none leaves it out)"]

    outside = settings("dataset=cifar100", "teacher=vgg13", "student=vgg8", "loss=dkd")
    assert outside.published == {}
    assert outside.experiment is None
    assert outside.loss.terms["dkd"].node["beta"] == 8
    assert described(outside) == []
    assert settings(f"experiment={BY_DKD}", "loss=dkd", "published=none").loss.terms["dkd"].node["beta"] == 8


@pytest.mark.parametrize("typed", ["loss.beta=3", "loss.terms.dkd.beta=3"])
def test_published__what_the_user_types_wins(typed: str) -> None:
    found = settings(f"experiment={BY_DKD}", "loss=dkd", typed)
    assert found.loss.terms["dkd"].node["beta"] == 3
    assert found.published == {}
    assert described(found) == [f"not as published for {BY_DKD}: {typed}"]


def test_published__of_a_sweep_over_losses_each_has_its_own() -> None:
    options = parse([f"experiment={BY_DKD}", "loss=kd,dkd"])
    from kd_lab.sweep.multirun import listed, swept

    with composing(options) as compose:
        jobs = listed(swept(options.overrides, compose)[1], compose)
    assert [job.config["published"] for job in jobs] == [{}, {"loss.terms.dkd.beta": 6.0}]


def test_published__several_losses_each_its_own_and_kd_beside() -> None:
    found = settings(f"experiment={BY_DKD}", "loss=[dkd,kd,ft]")
    assert {name: one.weight for name, one in found.loss.terms.items()} == {"dkd": 1, "kd": 1, "ft": 200}
    assert found.loss.terms["dkd"].node["beta"] == 6
    assert found.loss.hard_weight == 1
    assert short(found.published) == "dkd beta=6, kd weight=1, ft weight=200"

    weighted = settings(f"experiment={BY_DKD}", "loss=[crd,kd]", "loss.terms.kd.weight=0.9", "loss.hard_weight=0.1")
    assert (weighted.loss.terms["kd"].weight, weighted.loss.hard_weight) == (0.9, 0.1)
    assert settings("dataset=cifar100", "loss=[crd,kd]").loss.terms["kd"].weight == 0.9


@pytest.mark.parametrize(
    ("typed", "changed"),
    [
        (["dataset.path=/data", "teacher.weights=run:abc", "seed=3", "trainer=gpu", "student.recipe.compile=true"], []),
        (["loss.temperature=2", "student.recipe.epochs=2"], ["student.recipe.epochs=2", "loss.temperature=2"]),
        (["loss.temperature=4"], []),
        (["student=resnet20"], None),
        (["dataset.labels=1000"], ["dataset.labels=1000"]),
    ],
)
def test_changed__what_the_user_has_otherwise(typed: list[str], changed: list[str] | None, tmp_path: Path) -> None:
    if "teacher.weights=run:abc" in typed:
        typed = [word.replace("run:abc", str(tmp_path / "t.pth")) for word in typed]
    found = composed("experiment=cifar100/resnet32x4_resnet8x4", *typed)["experiment"]["changed"]
    assert found == changed if changed is not None else any(word.startswith("student.depth=") for word in found)


def test_changed__what_was_published_is_left_out() -> None:
    found = composed(f"experiment={BY_DKD}", "loss=dkd", "published=none")
    assert found["experiment"]["changed"] == ["loss.terms.dkd.beta=8.0"]


def test_tags__of_the_student() -> None:
    found = tags(settings(f"experiment={BY_DKD}", "loss=kd", "loss.standardize=true", "student.recipe.epochs=2"))
    assert found == {
        names.TAG_EXPERIMENT: BY_DKD,
        names.TAG_EXPERIMENT_LOSS: "kd standardized",
        names.TAG_EXPERIMENT_CHANGED: "student.recipe.epochs=2",
        names.TAG_PUBLISHED: "kd temperature=3 weight=9 hard_weight=0.1",
    }
    assert tags(settings("loss=kd")) == {}


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (["loss=kd", "loss.standardize=true"], ["published=${experiment}/${loss}_standardized"]),
        (["loss=kd", "loss.standardize=false"], []),
        (["experiment=a/b", "loss=[kd]"], ["published=[a/b/kd,beside/kd]", "tuned/loss=none"]),
        (["loss=[kd,at]"], ["published=none", "tuned/loss=none"]),
        (["loss=[kd,at]", "published=none"], ["tuned/loss=none"]),
    ],
)
def test_expand__what_it_implies(typed: list[str], expected: list[str]) -> None:
    assert expand(typed)[len(typed) :] == expected


def test_files__each_brings_something_to_a_loss_that_is_there() -> None:
    files = [path for path in (conf_dir() / "published").rglob("*.yaml") if path.parent.name != "published"]
    assert len(files) > 40
    for path in files:
        loss = path.stem.removesuffix("_standardized")
        text = path.read_text(encoding="utf-8")
        assert loss in choices_of("loss"), path
        assert re.search(rf"^loss:\n  terms:\n    {loss}:\n      \w+: ", text, re.M), path
        pair = path.parent.relative_to(conf_dir() / "published").as_posix()
        assert pair in choices_of("experiment") or "/" not in pair, path


@pytest.mark.skipif(
    not (conf_dir() / "dataset" / "image_folder.yaml").is_file(), reason="ImageNet needs dataset=image_folder"
)
@pytest.mark.parametrize(
    ("experiment", "loss", "expected", "recipe"),
    [
        ("imagenet/resnet34_resnet18", "kd", {"temperature": 1, "weight": 0.5, "hard_weight": 0.5}, (512, 0.2)),
        ("imagenet/resnet34_resnet18", "dkd", {"temperature": 1, "beta": 0.5}, (512, 0.2)),
        ("imagenet/resnet50_mobilenet_v1", "review", {"weight": 8}, (256, 0.1)),
        ("imagenet/resnet50_mobilenet_v1", "ofd", {"weight": 1e-4}, (128, 0.05)),
        ("deit/regnety_160_deit_tiny", "hard_label", {"weight": 0.5, "hard_weight": 0.5}, (1024, 1e-3)),
    ],
)
def test_imagenet__weights_and_recipe(
    experiment: str, loss: str, expected: dict[str, float], recipe: tuple[int, float]
) -> None:
    config = composed(f"experiment={experiment}", f"loss={loss}", "dataset.path=/data")
    term, own = config["loss"]["terms"][loss], config["student"]["recipe"]
    assert {key: term[key] for key in expected} == expected
    assert (own["batch_size"], own["optimizer"]["lr"]) == recipe
    assert config["experiment"]["changed"] == []
    assert config["dataset"]["size"] == 224


def test_wrong_pair__is_told_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"^experiment=cifar100/resnet32x4_resnet8: no such experiment; did you mean"):
        composed("experiment=cifar100/resnet32x4_resnet8")
