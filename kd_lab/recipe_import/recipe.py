"""A recipe file of another framework, whichever it is, as kd-lab commands or as a file for conf/experiment."""

from pathlib import Path

import yaml

from kd_lab.errors import UserError
from kd_lab.recipe_import import mdistiller, repdistiller, torchdistill
from kd_lab.recipe_import.translation import Translation, nested
from kd_lab.recipe_import.yaml_file import values_of

LARGEST = 1_000_000
EXPECTED = (
    "expected a shell script with RepDistiller's `python train_student.py ...`, mdistiller's YAML (DISTILLER: TYPE:) "
    "or torchdistill's (models:, train:)"
)
IN_A_LIST = ("tuned/loss", "published")
"""Hydra finds the files of these groups by the name of the only loss."""


def translations(file: str) -> list[Translation]:
    """What is in it: several of a script with several commands.

    Raises:
        UserError: there is no such file, or it is none of these.
    """
    text = _text(file)
    if found := repdistiller.commands(text):
        return [repdistiller.translate(words) for words in found]
    if not file.endswith((".yaml", ".yml")):
        raise UserError(f"{file}: {EXPECTED}")
    values = values_of(text, file)
    if mdistiller.TYPE in values:
        return [mdistiller.translate(values, file)]
    if torchdistill.is_one(values):
        return [torchdistill.translate(values, file)]
    raise UserError(f"{file}: {EXPECTED}")


def _text(file: str) -> str:
    path = Path(file).expanduser()
    try:
        if path.stat().st_size > LARGEST:
            raise UserError(f"{file}: has {path.stat().st_size:,} bytes; {EXPECTED}")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror}); {EXPECTED}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: is no text; {EXPECTED}") from error


def as_experiment(made: Translation, source: str) -> str:
    """The content of FOLDER/experiment/NAME.yaml, for --config-dir=FOLDER experiment=NAME."""
    chosen = {key: value for key, value in made.overrides.items() if "." not in key and key != "seed"}
    if chosen.get("loss", "").startswith("["):
        chosen |= dict.fromkeys(IN_A_LIST, "none")
    choices: list[dict[str, object]] = [
        {f"override /{key}": value[1:-1].split(",") if value.startswith("[") else value}
        for key, value in chosen.items()
    ]
    told = f"{chosen.get('teacher')} teaches {chosen.get('student')}, loss {chosen.get('loss')}: from {source}"
    tree = nested(made.overrides) | ({"seed": int(made.overrides["seed"])} if "seed" in made.overrides else {})
    body = yaml.safe_dump({"defaults": choices} | tree, sort_keys=False)
    return f"# @package _global_\n# {' '.join(told.split())} ({made.framework})\n{body}"
