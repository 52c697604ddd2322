"""A plug-in is three files; nobody keeps a list."""

import doctest
import importlib
import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from tests.contracts.plugins import (
    CONF,
    PACKAGE,
    PACKAGES,
    ROOT,
    header_problems,
    is_header,
    missing_files,
    modules,
    target_problems,
    with_target,
    yamls,
)

MODULES = [pytest.param(g, name, id=f"{g}/{name}") for g in PACKAGES for name in modules(g)]
GROUPS = [*PACKAGES, "optimizer"]
YAMLS = [pytest.param(g, name, id=f"{g}/{name}") for g in GROUPS for name in yamls(g)]


@pytest.mark.parametrize("group", GROUPS)
def test_group__has_something_to_choose(group: str) -> None:
    assert with_target(group), f"conf/{group} holds no YAML with a `_target_`: the walk would test nothing."


@pytest.mark.parametrize(("group", "name"), MODULES)
def test_module__has_its_yaml_and_its_test(group: str, name: str) -> None:
    assert not missing_files(group, name)


@pytest.mark.parametrize("path", [p for p in sorted(PACKAGE.rglob("*.py")) if ">>> " in p.read_text()], ids=str)
def test_module__examples_in_its_docstrings_are_true(path: Path) -> None:
    found = doctest.testmod(importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts)))

    assert found.failed == 0
    assert found.attempted > 0


@pytest.mark.parametrize(("group", "name"), YAMLS)
def test_yaml__starts_with_its_description(group: str, name: str) -> None:
    assert not header_problems(group, name)


@pytest.mark.parametrize("path", sorted(CONF.rglob("*.yaml")), ids=lambda p: p.stem)
def test_conf__package_header_is_in_line_1(path: Path) -> None:
    """Hydra 1.3 looks for headers up to the first other line, a comment included, and ignores later ones in silence."""
    headers = [n for n, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1) if is_header(line)]

    assert headers in ([], [1]), f"{path.relative_to(ROOT)}: move line {headers[-1]} to line 1."


@pytest.mark.parametrize(("group", "name"), YAMLS)
def test_yaml__target_imports_and_knows_every_argument(group: str, name: str) -> None:
    assert not target_problems(group, name)


def test_loss_yaml__lands_under_its_own_name_next_to_others() -> None:
    names = with_target("loss")

    with initialize_config_dir(str(CONF), version_base=None):
        config = compose(overrides=[f"+loss=[{','.join(names)}]"])

    assert set(config.loss) == {"terms"}
    assert {name: node._target_.split(".")[2] for name, node in config.loss.terms.items()} == {n: n for n in names}


def test_loss_none__has_no_term() -> None:
    with initialize_config_dir(str(CONF), version_base=None):
        config = compose(overrides=["+loss=none"])

    assert config == {"loss": {"terms": {}}}


def test_schedules__import_without_torch() -> None:
    names = ", ".join(f"kd_lab.schedules.{name}" for name in modules("schedule"))
    command = f"import sys, {names}; sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", command], cwd=ROOT, check=False).returncode == 0
