"""`kd-lab import-recipe`: recipes of three frameworks, whose alphas mean three things, as commands that compose."""

import shlex
from pathlib import Path
from typing import Any

import pytest

from kd_lab.cli.main import _main
from kd_lab.job.arguments import parse
from kd_lab.job.compose import composing
from kd_lab.job.settings import Settings

CRD = """\
# CRD with KD beside it
CUDA_VISIBLE_DEVICES=0 python train_student.py --path_t ./save/models/resnet32x4_vanilla/ckpt_epoch_240.pth \\
    --distill crd --model_s resnet8x4 -a 1 -b 0.8 --trial 1
"""
DKD = """\
EXPERIMENT:
  NAME: ""
  TAG: "dkd,vgg13,mv2"
DISTILLER:
  TYPE: "DKD"
  TEACHER: "vgg13"
  STUDENT: "MobileNetV2"
SOLVER:
  BATCH_SIZE: 64
  EPOCHS: 240
  LR: 0.01
  LR_DECAY_STAGES: [150, 180, 210]
  LR_DECAY_RATE: 0.1
  WEIGHT_DECAY: 0.0005
  MOMENTUM: 0.9
  TYPE: "SGD"
DKD:
  CE_WEIGHT: 1.0
  ALPHA: 1.0
  BETA: 6.0
  T: 4.0
  WARMUP: 20
  SECRET: 3
"""
KD_NEW = """\
datasets:
  cifar100:
    name: &dataset_name 'cifar100'
    root: &root_dir !join ['./resource/', *dataset_name]
models:
  teacher_model:
    key: &teacher_key 'wrn_40_2'
    kwargs:
      num_classes: 100
    ckpt: !join ['./ckpt/', *teacher_key, '.pt']
  student_model:
    key: 'wide_resnet'
    kwargs:
      depth: 40
      k: 1
train:
  log_freq: 100
  num_epochs: 200
  train_data_loader:
    batch_size: 128
  teacher:
    requires_grad: False
  student:
    frozen_modules: ['conv1']
  optimizer:
    key: 'SGD'
    kwargs:
      lr: 0.1
      momentum: 0.9
      weight_decay: 0.0005
  scheduler:
    key: 'MultiStepLR'
    kwargs:
      milestones: [60, 120, 160]
      gamma: 0.2
  criterion:
    key: 'WeightedSumLoss'
    kwargs:
      sub_terms:
        kd:
          criterion:
            key: 'KDLoss'
            kwargs:
              temperature: 4.0
              alpha: 0.9
              reduction: 'batchmean'
          weight: 1.0
"""
AT_OLD = """\
datasets:
  cifar10:
    name: 'cifar10'
models:
  teacher_model:
    name: 'resnet56'
  student_model:
    name: 'resnet20'
train:
  num_epochs: 100
  train_data_loader:
    batch_size: 256
  student:
    forward_hook:
      output: ['layer3']
  optimizer:
    type: 'Adam'
    params:
      lr: 0.1
  criterion:
    type: 'GeneralizedCustomLoss'
    org_term:
      criterion:
        type: 'KDLoss'
        params:
          temperature: 2.0
          alpha: 0.5
      factor: 2.0
    sub_terms:
      at_loss:
        criterion:
          type: 'ATLoss'
          params:
            at_pairs:
              pair1:
                factor: 1
        factor: 1000.0
"""
BOMB = "a0: &a0 [1, 2]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12))


def told(text: str, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], *more: str) -> tuple[list[str], str]:
    """The words of the command that is printed, and all that is said."""
    file = tmp_path / name
    file.write_text(text)
    assert _main(["import-recipe", str(file), *more]) == 0
    said = capsys.readouterr().out
    command = said.split("\n\n")[0]
    return shlex.split(command.replace("\\\n", " ")), said


def composed(words: list[str]) -> dict[str, Any]:
    options = parse(words)
    with composing(options) as compose:
        return compose(options.overrides)


def settings(words: list[str]) -> Settings:
    assert words[0] == "kd-lab"
    return Settings.of(composed(words[1:]))


def test_repdistiller__alpha_is_the_weight_of_kd(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words, said = told(CRD, "run.sh", tmp_path, capsys)
    found = settings(words)

    assert {"teacher=resnet32x4", "student=resnet8x4", "loss=[crd,kd]"} <= set(words)
    assert found.teacher is not None
    assert found.teacher.weights == "./save/models/resnet32x4_vanilla/ckpt_epoch_240.pth"
    assert (found.loss.hard_weight, found.loss.terms["kd"].weight, found.loss.terms["crd"].weight) == (1, 1, 0.8)
    crd = found.loss.terms["crd"].node
    assert [crd[key] for key in ("dim", "negatives", "temperature", "momentum")] == [128, 16384, 0.07, 0.5]
    assert found.loss.terms["kd"].node["temperature"] == 4
    recipe = found.student.recipe
    assert (recipe.epochs, recipe.batch_size, recipe.augment) == (240, 64, True)
    assert (recipe.optimizer["lr"], recipe.optimizer["weight_decay"]) == (0.05, 5e-4)
    assert recipe.schedule["milestones"] == [0.625, 0.75, 0.875]
    assert (found.seed, found.dataset["validation"]) == (1, 0)
    assert "\n- --trial 1: there the number of a run without a seed; here seed=1\n" in said
    assert said.endswith("with its published figures: experiment=cifar100/resnet32x4_resnet8x4\n")


def test_repdistiller__kd_alone_and_the_learning_rate_that_flags_do_not_say(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = (
        "python train_student.py --path_t save/wrn_40_2_vanilla/best.pth --distill kd --model_s ShuffleV1 -r 0.1 -a 0.9"
        " -b 0 --learning_rate 0.05 --kd_T=2 --epochs 100 --lr_decay_epochs 30,60,120 --save_freq 5 --hint_layer 3"
        " --fast 1"
    )
    words, said = told(line, "run.sh", tmp_path, capsys)
    found = settings(words)

    assert {"teacher=wrn_40_2", "student=shuffle_v1", "loss=kd"} <= set(words)
    assert (found.loss.hard_weight, found.loss.terms["kd"].weight, found.loss.terms["kd"].node["temperature"]) == (
        0.1,
        0.9,
        2,
    )
    assert found.student.recipe.optimizer["lr"] == 0.01
    assert found.student.recipe.schedule["milestones"] == [0.3, 0.6]
    assert "RepDistiller trains ShuffleV1 at 0.01 whatever it says" in said
    assert "- --fast 1: train_student.py has no such flag" in said
    assert "\nLeft out, no result follows from it: --save_freq\n" in said


@pytest.mark.parametrize(
    ("method", "ours"),
    [("hint", "fitnet"), ("attention", "at"), ("similarity", "sp"), ("abound", "ab"), ("factor", "ft"), ("nst", "nst")],
)
def test_repdistiller__names_of_methods(
    method: str, ours: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = f"python3 train_student.py --path_t a/vgg13_vanilla/b.pth --distill {method} --model_s vgg8 -a 0 -b 7"
    found = settings(told(line, "run.sh", tmp_path, capsys)[0])
    assert {name: term.weight for name, term in found.loss.terms.items()} == {ours: 7}


def test_mdistiller__alpha_is_the_weight_of_the_target_class(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words, said = told(DKD, "dkd.yaml", tmp_path, capsys)
    found = settings(words)

    assert {"teacher=vgg13", "student=mobilenet_v2", "loss=dkd"} <= set(words)
    dkd = found.loss.terms["dkd"]
    assert [dkd.node[key] for key in ("alpha", "beta", "temperature")] == [1, 6, 4]
    assert (dkd.weight, found.loss.hard_weight) == (1, 1)
    assert round(dkd.schedules["weight"]["warmup_steps"] * 240, 6) == 20
    assert found.student.recipe.optimizer["lr"] == 0.01
    assert "- line 23, DKD.SECRET: 3: kd-lab's dkd has no such setting" in said
    assert "EXPERIMENT.TAG" in said


def test_mdistiller__what_the_file_does_not_say_has_its_defaults(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = settings(told("DISTILLER:\n  TYPE: REVIEWKD\nSOLVER:\n  EPOCHS: 40\n", "r.yml", tmp_path, capsys)[0])
    assert found.loss.terms["review"].weight == 1
    assert found.loss.terms["review"].schedules["weight"]["warmup_steps"] == 0.5
    assert found.student.recipe.optimizer["weight_decay"] == 1e-4


def test_torchdistill__alpha_is_the_weight_of_the_hard_labels(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words, said = told(KD_NEW, "kd.yaml", tmp_path, capsys)
    found = settings(words)

    assert {"dataset=cifar100", "teacher=wrn_40_2", "student=wrn_40_1", "loss=kd"} <= set(words)
    assert (found.loss.hard_weight, found.loss.terms["kd"].weight) == (0.9, 0.1)
    assert found.loss.terms["kd"].node["temperature"] == 4
    assert found.teacher is not None
    assert found.teacher.weights == "./ckpt/wrn_40_2.pt"
    recipe = found.student.recipe
    assert (recipe.epochs, recipe.batch_size, recipe.optimizer["lr"]) == (200, 128, 0.1)
    assert (recipe.schedule["milestones"], recipe.schedule["factor"]) == ([0.3, 0.6, 0.8], 0.2)
    assert "- line 24, train.student.frozen_modules: ['conv1']: not translated" in said


def test_torchdistill__older_form__factors_multiply(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words, said = told(AT_OLD, "at.yaml", tmp_path, capsys)
    found = settings(words)

    assert {"dataset=cifar10", "loss=[kd,at]"} <= set(words)
    weights = {name: term.weight for name, term in found.loss.terms.items()}
    assert (found.loss.hard_weight, weights) == (1, {"kd": 1, "at": 1000})
    assert "- line 17, train.optimizer: Adam: choose student/recipe/optimizer=..." in said
    assert "train.student.forward_hook.output: ['layer3']: name the layers by student.layers=[...]" in said
    assert "ATLoss: its weight is translated, its other settings are not" in said


@pytest.mark.parametrize(("text", "name"), [(CRD, "run.sh"), (DKD, "dkd.yaml"), (KD_NEW, "kd.yaml")])
def test_out__is_an_experiment_that_composes_to_the_same(
    text: str, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "experiment").mkdir()
    out = tmp_path / "experiment" / "mine.yaml"
    words, _ = told(text, name, tmp_path, capsys, f"out={out}")

    assert out.read_text().startswith("# @package _global_\n# ")
    typed, chosen = composed(words[1:]), composed([f"--config-dir={tmp_path}", "experiment=mine"])
    assert chosen.pop("experiment")["changed"] == []
    typed.pop("published"), chosen.pop("published")
    assert chosen == typed


def test_cfg_job__of_a_printed_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words, _ = told(CRD, "run.sh", tmp_path, capsys)
    assert _main(["--cfg", "job", *words[1:]]) == 0
    assert "negatives: 16384" in capsys.readouterr().out


def test_script__several_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, said = told(CRD + CRD.replace("-b 0.8", "-b 1.6"), "run.sh", tmp_path, capsys)
    assert said.count("kd-lab \\\n") == 2
    assert "loss.terms.crd.weight=1.6" in said


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("echo hello\n", "run.sh", "expected a shell script with RepDistiller's"),
        ("a: 1\n", "a.yaml", "expected a shell script with RepDistiller's"),
        ("a: [\n", "a.yaml", "is no YAML in line 2"),
        ("- 1\n", "a.yaml", "expected a YAML file with keys"),
        (BOMB, "a.yaml", "holds more than 10,000 values"),
        ("DISTILLER:\n  TYPE: MLD\n", "a.yaml", "DISTILLER.TYPE: MLD: no such method here"),
        ("DISTILLER:\n  TYPE: KD\nSOLVER:\n  LR: fast\n", "a.yaml", "expected numbers in SOLVER and KD"),
        ("models:\n  a: 1\ntrain:\n  b: 1\n", "a.yaml", "expected train.num_epochs and"),
        ("models:\n  a: 1\ntrain:\n  stage1:\n    b: 1\n", "a.yaml", "trains in several stages"),
        ("python train_student.py --distill magic", "run.sh", "--distill magic: no such method"),
        ("python train_student.py --epochs many", "run.sh", "--epochs many: expected a number"),
        ("python train_student.py --epochs --trial 1", "run.sh", "--epochs: expected a value behind it"),
    ],
)
def test_wrong_file__one_sentence(
    text: str, name: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / name
    file.write_text(text)
    assert _main(["import-recipe", str(file)]) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""


def test_wrong_words__one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, message in (
        (["import-recipe"], "expected one file"),
        (["import-recipe", str(tmp_path / "none.sh")], "cannot be read"),
        (["import-recipe", str(tmp_path)], "cannot be read"),
        (["import-recip", "x"], "import-recip: no such command"),
    ):
        assert _main(arguments) == 2
        assert message in capsys.readouterr().err
    file = tmp_path / "run.sh"
    file.write_text(CRD)
    assert _main(["import-recipe", str(file), f"out={file}"]) == 2
    assert "expected a file that ends in .yaml" in capsys.readouterr().err
    (tmp_path / "there.yaml").write_text("mine")
    assert _main(["import-recipe", str(file), f"out={tmp_path / 'there.yaml'}"]) == 2
    assert "there is a file of this name already" in capsys.readouterr().err
    assert (tmp_path / "there.yaml").read_text() == "mine"


def test_binary__is_no_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.yaml").write_bytes(b"\xff\xfe\x00")
    assert _main(["import-recipe", str(tmp_path / "a.yaml")]) == 2
    assert "is no text" in capsys.readouterr().err
