"""What a result follows from: an edited file is another one."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import kd_lab
from kd_lab.job import code
from kd_lab.job.code import DISTILLING, TRAINING, code_of
from tests.integration.processes import ONE_THREAD, SMALL
from tests.job.composed import plan

EDITED = """
import sys
from pathlib import Path
import kd_lab
from kd_lab.cli.main import _main

home = Path(kd_lab.__file__).parent
assert _main(sys.argv[1:]) == 0
for file in ("store/run.py", "losses/kd.py"):  # from one no number follows
    (home / file).open("a").write("\\n# mended\\n")
    assert _main(sys.argv[1:]) == 0
"""
"""A sweep that is run three times, in processes that begin with what stands there then."""
OWN_NET = """
from torch import nn

class Net(nn.Linear):
    def __init__(self, num_classes: int) -> None:
        super().__init__(20, num_classes)
"""
LOSS = {"_target_": "kd_lab.losses.kd.KD"}


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the package, which the hash is of."""
    there = tmp_path / "kd_lab"
    shutil.copytree(Path(kd_lab.__file__).parent, there, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(code, "_HOME", tmp_path)
    return there


@pytest.mark.parametrize(
    ("file", "of_a_network", "of_a_student"),
    [
        ("training/objective.py", True, True),
        ("training/distiller.py", True, True),
        ("feeds/memory.py", True, True),
        ("losses/common/loss.py", True, True),
        ("job/fit.py", True, True),
        ("job/train.py", True, True),
        ("job/bind.py", False, True),
        ("job/distil.py", False, True),
        ("measures/fidelity.py", False, True),
        ("losses/rkd.py", False, False),
        ("models/rnn.py", False, False),
        ("store/run.py", False, False),
        ("cli/main.py", False, False),
        ("analysis/comparison.py", False, False),
    ],
)
def test_code_of__a_file_that_is_edited(copied: Path, file: str, of_a_network: bool, of_a_student: bool) -> None:
    before = code_of(None, TRAINING), code_of(None, DISTILLING)
    (copied / file).write_text((copied / file).read_text() + "\n# edited\n")
    after = code_of(None, TRAINING), code_of(None, DISTILLING)
    assert (before[0] != after[0], before[1] != after[1]) == (of_a_network, of_a_student)


def test_code_of__does_not_tell_where_the_package_lies(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = code_of(None)
    monkeypatch.setattr(code, "_HOME", Path(kd_lab.__file__).parents[1])
    assert code_of(None) == there


def test_code_of__every_class_that_is_named_counts() -> None:
    assert code_of([LOSS]) != code_of(None)
    assert code_of({"terms": {"kd": {"node": LOSS}}}) == code_of([LOSS])
    assert code_of({"_target_": "torch.optim.Adam"}) != code_of({"_target_": "torch.optim.SGD"}) != code_of(None)
    assert code_of({"_target_": None}) == code_of(None)


@pytest.mark.parametrize("file", ["my_net_of_code.py", "my_parts_of_code/layers.py", "my_parts_of_code/deep.py"])
def test_code_of__a_class_of_the_users_with_what_lies_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    (tmp_path / "my_parts_of_code").mkdir()
    (tmp_path / "my_net_of_code.py").write_text("from my_parts_of_code.layers import Layer\nclass Net(Layer): pass\n")
    (tmp_path / "my_parts_of_code" / "__init__.py").write_text("")
    (tmp_path / "my_parts_of_code" / "layers.py").write_text(
        "import torch\nclass Layer(torch.nn.Module):\n    def forward(self, x):\n        from . import deep\n"
    )
    (tmp_path / "my_parts_of_code" / "deep.py").write_text("DEPTH = 1\n")
    (tmp_path / "unrelated.py").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    for name in ("my_net_of_code", "my_parts_of_code", "my_parts_of_code.layers"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    node = {"_target_": "my_net_of_code.Net"}
    before = code_of(node)
    (tmp_path / "unrelated.py").write_text("edited = True")
    assert code_of(node) == before
    (tmp_path / file).write_text((tmp_path / file).read_text() + "# edited\n")
    assert code_of(node) != before


def test_keys__hold_the_code(copied: Path) -> None:
    found = plan("dataset=synthetic", "teacher=mlp")
    world, teacher = found.specs.world, found.specs.teacher
    assert teacher is not None
    before = world.key(teacher)
    file = copied / "training" / "module.py"
    file.write_text(file.read_text().replace("zero_grad()", "zero_grad(set_to_none=True)"))
    assert world.key(teacher) != before


@pytest.mark.slow
def test_sweep__a_loss_that_was_edited__is_run_again(tmp_path: Path) -> None:
    """The README's own "add a loss", mended and run again; the student is a class of the folder that one stands in."""
    root = Path(kd_lab.__file__).parents[1]
    for folder in ("kd_lab", "conf"):
        shutil.copytree(root / folder, tmp_path / "src" / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "here").mkdir()

    (tmp_path / "here" / "own_net.py").write_text(OWN_NET)
    job = ["loss=kd", "seed=0", "baseline=false", "student._target_=own_net.Net"]
    command = [sys.executable, "-P", "-c", EDITED, "-m", *SMALL, *job]
    environment = ONE_THREAD | {"PYTHONPATH": str(tmp_path / "src")}
    done = subprocess.run(command, cwd=tmp_path / "here", env=environment, capture_output=True, text=True, check=True)

    assert re.findall(r"1 job: 1 [a-z ]+(?= in )", done.stdout) == [
        "1 job: 1 done",
        "1 job: 1 found again",
        "1 job: 1 done",
    ]
