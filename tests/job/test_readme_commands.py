"""Every command of the README is one: it is composed as it stands there, names in capitals and all."""

import itertools
import re
import shlex
from argparse import Namespace
from pathlib import Path

import pytest

import kd_lab
from kd_lab.cli.commands import parse
from kd_lab.cli.manual import OF_COMMAND
from kd_lab.job.compose import Composer, composing
from kd_lab.job.settings import Settings
from kd_lab.sweep.multirun import _combinations, swept

README = Path(kd_lab.__file__).parents[1] / "README.md"


def commands() -> list[list[str]]:
    blocks = re.findall(r"^```sh\n(.*?)^```", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    typed = [shlex.split(line, comments=True) for block in blocks for line in block.splitlines()]
    return [words[1:] for words in typed if words[:1] == ["kd-lab"]]


@pytest.mark.slow
@pytest.mark.skipif(not README.exists(), reason="needs the clone")
def test_readme__its_commands_are_composed() -> None:
    typed = commands()
    named = {words[0] for words in typed if words and words[0] in OF_COMMAND}
    assert named == {"compare", "doctor", "evaluate", "export", "import-recipe", "list", "notebook", "predict"}
    of_a_run = ["teacher.weights=run:ID"]  # asks the store
    jobs = [words for words in typed if words and words[0] not in OF_COMMAND and words != of_a_run]
    assert len(jobs) > 50
    told: dict[tuple[str | None, ...], list[Namespace]] = {}
    for options in map(parse, jobs):
        told.setdefault((options.config_dir, options.config_path, options.config_name), []).append(options)
    for alike in told.values():  # what is composed from the same files shares what was read of them
        with composing(alike[0]) as compose:
            for options in alike:
                check(options, compose)


def check(options: Namespace, compose: Composer) -> None:
    if not options.multirun:
        assert compose.single(options.overrides, "one job")["seed"] == 0
        return
    settings, overrides = swept(options.overrides, compose)
    if settings.search is None:
        for _, job in itertools.islice(_combinations(overrides), 2):
            Settings.of(compose(job))
