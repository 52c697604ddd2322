"""`kd-lab list`: every choice in a line; of one choice what can be set, what it means, how it is typed."""

import re

import pytest

from kd_lab.cli.main import _main
from kd_lab.job.catalogue import NETWORKS, choices_of, conf_dir, groups


@pytest.mark.slow
def test_list__names_every_choice_with_its_description(capsys: pytest.CaptureFixture[str]) -> None:
    files = [file for group in groups() for file in (conf_dir() / group).rglob("*.yaml")]
    assert len(files) > 100
    for file in files:
        group, _, name = file.relative_to(conf_dir()).with_suffix("").as_posix().partition("/")
        assert _main(["list", group]) == 0
        out = capsys.readouterr().out
        comment = next(line for line in file.read_text().splitlines() if not line.startswith("# @"))
        assert re.search(rf"^  {name} +{re.escape(comment.removeprefix('# ').rstrip())}$", out, re.M)


def test_list__teacher_is_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert _main(["list", "teacher"]) == 0
    assert "ensemble" in capsys.readouterr().out


def test_list__numbers_in_names_are_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    assert _main(["list", "model"]) == 0
    listed = re.findall(r"^  (resnet\S+)", capsys.readouterr().out, re.M)
    assert [*listed[:3], *listed[-2:]] == ["resnet8", "resnet8x4", "resnet14", "resnet56", "resnet110"]


def test_list__unknown_group(capsys: pytest.CaptureFixture[str]) -> None:
    assert _main(["list", "losss"]) == 2
    assert "list losss: no such group; did you mean loss?" in capsys.readouterr().err


def test_list__says_how_to_choose_what_is_ones_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert _main(["list"]) == 0
    out = capsys.readouterr().out
    for said in (
        "dataset._target_=my_module.Data",
        "loss._target_=my_module.MyLoss",
        "--config-dir=FOLDER",
        "list loss=dkd",
    ):
        assert said in out
    assert re.search(r"^  custom +Data of your own: dataset._target_=my_module.Data", out, re.M)


def test_list__one_loss_with_settings_meaning_default_and_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert _main(["list", "loss=dkd"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("loss=dkd  Decoupled KD (Zhao 2022)")
    assert re.search(r"^  loss.temperature=4.0 +T, the softening of both distributions, without unit.$", out, re.M)
    assert re.search(r"^  loss.beta=8.0 +weight of the part of the other classes.$", out, re.M)
    assert re.search(r"^  loss.weight=1.0 +how much the loss counts in the objective.$", out, re.M)
    assert out.endswith("Example: kd-lab loss=dkd loss.temperature=4.0\n")


@pytest.mark.parametrize(
    ("choice", "line"),
    [
        ("dataset=arrays", r"^  dataset.labels=null +how many labels are kept, stratified; None keeps all.$"),
        ("dataset=arrays", r"^Example: kd-lab dataset=arrays dataset\.path=FILE\.npz$"),
        ("dataset=table", r"^Example: kd-lab dataset=table dataset\.path=FILE\.csv dataset\.target=COLUMN$"),
        ("dataset=text", r"^Example: kd-lab dataset=text dataset\.path=FILE\.csv$"),
        ("dataset=digits", r"^  dataset/augment=shift +see kd-lab list augment$"),
        ("teacher=timm", r"^  teacher.pretrained=false +start from published weights"),
        ("recipe=teacher", r"^  student.recipe.clip_norm=null +largest L2 norm of the gradient; null: no clipping$"),
        ("optimizer=sgd", r"^Example: kd-lab student/recipe/optimizer=sgd student.recipe.optimizer.lr=0.05$"),
        ("sweep=seeds", r"^  seed=0,1,2,3,4,5,6,7,8,9$"),
        ("sweep=seeds", r"^Example: kd-lab -m sweep=seeds$"),
        ("experiment=article", r"^  teacher=mlp +see kd-lab list model$"),
        ("student=custom", r"^Example: kd-lab student._target_=my_module.Net$"),
    ],
)
def test_list__one_choice(capsys: pytest.CaptureFixture[str], choice: str, line: str) -> None:
    assert _main(["list", choice]) == 0
    assert re.search(line, capsys.readouterr().out, re.M)


def test_list__every_choice_has_a_page_that_is_typed_as_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    pages = [
        (group, name)
        for group in [*groups(), *NETWORKS]
        for name in choices_of("model" if group in NETWORKS else group)
    ]
    assert len(pages) > 90
    for group, name in pages:
        assert _main(["list", f"{group}={name}"]) == 0
        *_, example = capsys.readouterr().out.splitlines()
        assert example.startswith("Example: kd-lab ")
        assert not example.endswith("=null")


@pytest.mark.parametrize("choice", ["dataset=mnist", "dataset=fashion_mnist", "dataset=cifar10", "dataset=cifar100"])
def test_list__what_a_class_takes_from_another_has_its_meaning(capsys: pytest.CaptureFixture[str], choice: str) -> None:
    assert _main(["list", choice]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^  dataset.labels=null +how many labels are kept, stratified; None keeps all\.$", out, re.M)
    assert re.search(r"^  dataset.path=\S+ +a folder with the files as they are distributed\.$", out, re.M)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("loss=DKDD", r"list loss=DKDD: no such loss; did you mean dkd\?"),
        ("dkd", r"list dkd: no such group; did you mean kd-lab list loss=dkd\?"),
    ],
)
def test_list__unknown_choice(capsys: pytest.CaptureFixture[str], asked: str, message: str) -> None:
    assert _main(["list", asked]) == 2
    assert re.search(message, capsys.readouterr().err)
