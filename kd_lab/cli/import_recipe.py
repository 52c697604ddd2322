"""`kd-lab import-recipe FILE [out=FILE.yaml]`: a recipe of RepDistiller, mdistiller or torchdistill, as a command."""

from pathlib import Path

from kd_lab.cli.commands import options_of
from kd_lab.errors import UserError
from kd_lab.outside.text import line, visible
from kd_lab.recipe_import.recipe import as_experiment, translations
from kd_lab.recipe_import.translation import Translation

USAGE = "expected one file: kd-lab import-recipe FILE [out=FILE.yaml]"


def import_recipe(arguments: list[str]) -> int:
    """Print the command, and what of the file is not in it.

    Raises:
        UserError: no file, not one of these, or `out` cannot be written.
    """
    files = [argument for argument in arguments[1:] if not argument.startswith("out=")]
    options = options_of([argument for argument in arguments[1:] if argument not in files], {"out": ""})
    if len(files) != 1:
        raise UserError(f"{' '.join(arguments)}: {USAGE}")
    found = translations(files[0])
    if options["out"]:
        _write(options["out"], found, files[0])
    for made in found:
        _print(made)
    return 0


def _print(made: Translation) -> None:
    print(visible(made.command()))  # noqa: T201
    if made.left:
        print(f"\nNot translated from {made.framework}:")  # noqa: T201
        for sentence in made.left:
            print(line(f"- {sentence}"))  # noqa: T201
    if made.harmless:
        print()  # noqa: T201
        print(line(f"Left out, no result follows from it: {', '.join(dict.fromkeys(made.harmless))}"))  # noqa: T201
    if (pair := made.pair()) is not None:
        print(f"\nkd-lab has this pair with its published figures: experiment={pair}")  # noqa: T201


def _write(out: str, found: list[Translation], source: str) -> None:
    if not out.endswith(".yaml"):
        raise UserError(f"out={out}: expected a file that ends in .yaml, such as out=configs/experiment/mine.yaml")
    if len(found) > 1:
        raise UserError(f"out={out}: {source} has {len(found)} commands; expected a file with one")
    path = Path(out).expanduser()
    if path.exists():
        raise UserError(f"out={out}: there is a file of this name already; choose another name")
    try:
        path.write_text(as_experiment(found[0], Path(source).name), encoding="utf-8")
    except OSError as error:
        raise UserError(f"out={out}: cannot be written ({error.strerror})") from error
