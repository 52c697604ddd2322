"""A plug-in is three files; nobody keeps a list."""

import doctest
import importlib
import inspect
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from tests.contracts.plugins import (
    PACKAGES,
    REPOSITORY,
    Tree,
    header_problems,
    is_header,
    missing_files,
    modules,
    target,
    target_problems,
    with_target,
    yamls,
)

MODULES = [pytest.param(g, name, id=f"{g}/{name}") for g in PACKAGES for name in modules(REPOSITORY, g)]
GROUPS = [*PACKAGES, "optimizer"]
YAMLS = [pytest.param(g, name, id=f"{g}/{name}") for g in GROUPS for name in yamls(REPOSITORY, g)]


@pytest.mark.parametrize("group", GROUPS)
def test_group__has_something_to_choose(group: str) -> None:
    assert with_target(group), f"conf/{group} holds no YAML with a `_target_`: the walk would test nothing."


@pytest.mark.parametrize(("group", "name"), MODULES)
def test_module__has_its_yaml_and_its_test(group: str, name: str) -> None:
    assert not missing_files(REPOSITORY, group, name)


@pytest.mark.parametrize(("group", "name"), MODULES)
def test_module__examples_in_its_docstrings_are_true(group: str, name: str) -> None:
    module = importlib.import_module(f"kd_lab.{PACKAGES[group]}.{name}")

    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize(("group", "name"), YAMLS)
def test_yaml__starts_with_its_description(group: str, name: str) -> None:
    assert not header_problems(REPOSITORY, group, name)


@pytest.mark.parametrize("path", sorted(REPOSITORY.conf.rglob("*.yaml")), ids=lambda p: p.stem)
def test_conf__package_header_is_in_line_1(path: Path) -> None:
    """Hydra 1.3 looks for headers up to the first other line, a comment included, and ignores later ones in silence."""
    headers = [n for n, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1) if is_header(line)]

    assert headers in ([], [1]), f"{path.relative_to(REPOSITORY.conf.parent)}: move line {headers[-1]} to line 1."


@pytest.mark.parametrize(("group", "name"), YAMLS)
def test_yaml__target_imports_and_knows_every_argument(group: str, name: str) -> None:
    assert not target_problems(REPOSITORY, group, name)


@pytest.mark.parametrize("name", with_target("loss"))
def test_loss_yaml__lands_under_its_own_name_next_to_others(name: str) -> None:
    other = next(n for n in with_target("loss") if n != name)

    with initialize_config_dir(str(REPOSITORY.conf), version_base=None):
        config = compose(overrides=[f"+loss=[{name},{other}]"])

    assert set(config.loss) == {"terms"}
    assert set(config.loss.terms) == {name, other}
    assert config.loss.terms[name]._target_.startswith(f"kd_lab.losses.{name}.")


def test_loss_none__has_no_term() -> None:
    with initialize_config_dir(str(REPOSITORY.conf), version_base=None):
        config = compose(overrides=["+loss=none"])

    assert config == {"loss": {"terms": {}}}


def test_schedules__import_without_torch() -> None:
    names = ", ".join(f"kd_lab.schedules.{name}" for name in modules(REPOSITORY, "schedule"))
    command = f"import sys, {names}; sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", command], cwd=REPOSITORY.conf.parent, check=False).returncode == 0


# The walk itself: each fault is found, and its message says where it is and what to do.


def with_conf(tmp_path: Path, text: str, *, group: str = "loss", name: str = "kd") -> Tree:
    """This repository's package with one YAML of our own."""
    path = tmp_path / "conf" / group / f"{name}.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding="utf-8")
    return Tree(package=REPOSITORY.package, conf=tmp_path / "conf", tests=REPOSITORY.tests)


def test_walk__module_without_yaml_or_test_is_named(tmp_path: Path) -> None:
    tree = Tree(package=tmp_path / "kd_lab", conf=tmp_path / "conf", tests=tmp_path / "tests")
    shutil.copytree(REPOSITORY.package / "losses", tree.package / "losses")
    (tree.package / "losses" / "lonely.py").touch()

    assert "lonely" in modules(tree, "loss")
    assert missing_files(tree, "loss", "lonely") == [
        "kd_lab/losses/lonely.py: write conf/loss/lonely.yaml, so that `loss=lonely` can be chosen "
        "(a helper that is no plug-in belongs in kd_lab/losses/common/).",
        "kd_lab/losses/lonely.py: write tests/losses/test_lonely.py, so that it is tested "
        "(a helper that is no plug-in belongs in kd_lab/losses/common/).",
    ]


def test_walk__yaml_without_module_is_named(tmp_path: Path) -> None:
    tree = with_conf(tmp_path, "# Gone\n_target_: kd_lab.losses.gone.Gone\n", name="gone")

    assert target_problems(tree, "loss", "gone") == [
        "conf/loss/gone.yaml: write kd_lab/losses/gone.py, or delete the YAML."
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "_target_: math.sqrt",
            "Expected `_target_` in kd_lab.losses.kd, but got math.sqrt",
        ),
        ("temperature: 4.0", "Expected `_target_` in kd_lab.losses.kd, but got None"),
        ("_target_: kd_lab.losses.kd.DK", "Expected `_target_` kd_lab.losses.kd.DK to import, but got"),
        ("_target_: kd_lab.losses.kd.KD\ntemprature: 4.0", "has no argument `temprature` (it has temperature)"),
        ("_target_: kd_lab.losses.kd.KD\ntemperature: {_target_: math.no}", "Expected `_target_` math.no to import"),
    ],
)
def test_walk__wrong_target_or_argument_is_named(tmp_path: Path, text: str, message: str) -> None:
    (problem,) = target_problems(with_conf(tmp_path, text), "loss", "kd")

    assert problem.startswith("conf/loss/kd.yaml: ")
    assert message in problem


def test_walk__kwargs_are_found(tmp_path: Path) -> None:
    assert "kwargs" in inspect.signature(target({"_target_": "logging.basicConfig"})).parameters
    tree = with_conf(tmp_path, "_target_: logging.basicConfig\n", group="optimizer", name="any")

    assert target_problems(tree, "optimizer", "any") == [
        "conf/optimizer/any.yaml: logging.basicConfig takes **kwargs: write its arguments out, so that a typo is found."
    ]


@pytest.mark.parametrize("text", ["_target_: null", "_target_: ???"])
def test_walk__yaml_that_builds_nothing_needs_no_module(tmp_path: Path, text: str) -> None:
    assert target_problems(with_conf(tmp_path, text, group="model", name="yours"), "model", "yours") == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("_target_: a.b", "start with `# ` and the one-line description that `kd-lab list loss` shows."),
        ("# @package loss.terms.kd\n_target_: a.b", "start with `# ` and the one-line description"),
        ("# Fine\n# @package loss.terms.kd", "Expected line 1 to be `# @package loss.terms.kd`, but got `# Fine`."),
    ],
)
def test_walk__wrong_header_is_named(tmp_path: Path, text: str, message: str) -> None:
    problems = header_problems(with_conf(tmp_path, text), "loss", "kd")

    assert any(message in problem for problem in problems)
